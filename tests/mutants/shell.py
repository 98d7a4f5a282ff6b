"""Faults in the shell: files, data, run, sweeps, plots, analysis, experiments."""

from tests.mutants.fault import Fault

FAULTS: list[Fault] = [
    # ------------------------------------------- reversals of fixes in the history
    Fault(
        name="A sweep worker that starts first locks the folder for a moment",
        function="prepared",
        was="        return path",
        now="        _locked(path).close()\n        return path",
        tests=("test_kills",),
        history="0615cd0",
    ),
    Fault(
        name="A sweep worker that starts first leaves a folder without settings",
        function="_folder",
        was='[around.folder] if (around.folder / "config.json").exists() else []',
        now="[around.folder]",
        tests=("test_kills", "test_sweep"),
        history="8c962cc",
    ),
    Fault(
        name="A run restored at its last step is marked as stopped early",
        function="Run._restore",
        was="            self._saved_step = found.step\n",
        now="",
        tests=("test_session", "test_sweep"),
        history="8c962cc",
    ),
    Fault(
        name="The result is written before the report",
        function="Run.finish",
        was="        report.write(path, headline, result)\n"
        "        # Last: a run that has a result has everything.\n"
        '        files.write(path / "result.json",'
        ' files.dump_json(result, indent=2) + "\\n")\n',
        now='        files.write(path / "result.json",'
        ' files.dump_json(result, indent=2) + "\\n")\n'
        "        report.write(path, headline, result)\n",
        tests=("test_session", "test_resume"),
        history="4226488",
    ),
    Fault(
        name="A run goes on with another vocabulary than its checkpoint has",
        function="Run._restore",
        was="            resume.refuse_other_keeps("
        'path, found.record["keeps"], self._keeps)\n'
        "            self.state, self.step = "
        "resume.on_device(found.state), found.step\n"
        "            self._saved_step",
        now="            self.state, self.step = "
        "resume.on_device(found.state), found.step\n"
        "            self._saved_step",
        tests=("test_session",),
        history="879f4af",
    ),
    Fault(
        name="Any changed setting switches off the comparison of --evaluate",
        function="Run._compare",
        was="            if settings.field_of(name) in free\n",
        now="",
        tests=("test_command", "test_session"),
        history="7fd004a",
    ),
    Fault(
        name="A flag of --evaluate that asks for the default is never refused",
        function="_judged",
        was="    if wrong := sorted(",
        now="    plain = settings.to_json(type(recorded)())\n"
        "    asked = settings.differences(plain, settings.to_json(config))\n"
        "    apart = {name: how for name, how in apart.items() if name in asked}\n"
        "    if wrong := sorted(",
        tests=("test_command",),
        history="f09199b",
    ),
    Fault(
        name="A setting that is too small is not refused",
        function="command",
        was="ranges.check(config, chosen)",
        now="ranges.check(chosen)",
        tests=("test_ranges",),
        history="f6e1864",
    ),
    Fault(
        name="An image that is too small for the network ends in a traceback",
        function="exits",
        was="        ImageSizeError,\n",
        now="",
        tests=("test_command",),
        history="dbb3bbe",
    ),
    Fault(
        name="A picture is described with default beams, not those of the run",
        function="with_photo",
        was='config.decoding._replace(decode="beam")',
        now='type(config.decoding)("beam")',
        tests=("test_command",),
        history="df3b92e",
    ),
    Fault(
        name="A second timing changes which number of steps a call is chosen",
        function="chosen",
        was='step = measured["step"]',
        now='step = measured.get("1", measured["step"])',
        tests=("test_pace",),
        history="46bbdd4",
    ),
    Fault(
        name="An evaluation batch that does not divide by the devices is split",
        function="_pass",
        was="even = feed.batch_size % mesh.size == 0",
        now="even = True",
        tests=("test_mesh",),
        history="4ff4730",
    ),
    Fault(
        name="A code of one number is embedded with two principal components",
        function="embedded",
        was='init = "pca" if code.shape[1] > 2 else "random"',
        now='init = "pca"',
        tests=("test_coded_runs",),
        history="4728883",
    ),
    Fault(
        name="The digest of a split leaves out columns that are on the disk",
        function="Split.digest",
        was="            else:\n"
        '                sha.update(str(getattr(column, "digest", "")).encode())\n',
        now="",
        tests=("test_dataset", "test_tfds"),
        history="c169c69",
    ),
    Fault(
        name="BLEU is measured against what the vocabulary leaves of a sentence",
        function="word_pairs",
        was='[text.joined(text.words(t)) for t in text.texts_of(split, "target")]',
        now='[target.decode(target.encode(t)) for t in text.texts_of(split, "target")]',
        tests=("test_pairs",),
        history="f2bc547",
    ),
    Fault(
        name="A search that is impossible is refused only once the data is loaded",
        function="parsed",
        was="    search.proposals(free, options.method, 0, [1], objectives=count)\n",
        now="",
        tests=("test_sweep",),
        history="28d53ce",
    ),
    Fault(
        name="Only the winner's first seed is marked among the learning curves",
        function="_figures",
        was="won = range(first, first + len(winner.curves))",
        now="won = range(first, first + 1)",
        tests=("test_sweep",),
        history="97dbb77",
    ),
    Fault(
        name="The picture of mistakes does not fill up with right answers",
        function="mistakes",
        was="~wrong))[:count]",
        now="~wrong))[: min(count, int(wrong.sum()))]",
        tests=("test_plots",),
        history="21039da",
    ),
    Fault(
        name="The ring's slower duel trains at the full learning rate",
        function="trained",
        was="rate = config.hyper.learning_rate / duel.slower",
        now="rate = config.hyper.learning_rate",
        tests=("test_studies_generated",),
        history="38e78a2",
    ),
    # ------------------------------------------------------------------ thought up
    Fault(
        name="A file is renamed before its content is on the disk",
        function="write_with",
        was="            os.fsync(file.fileno())\n",
        now="",
        tests=("test_files", "test_checkpoints"),
    ),
    Fault(
        name="Metrics stay from a run that was killed before its first checkpoint",
        function="Records.__init__",
        was="        self._file.truncate(size)\n",
        now="        if mark:\n            self._file.truncate(size)\n",
        tests=("test_session", "test_resume"),
    ),
    Fault(
        name="A call of many steps runs past a report",
        function="train",
        was="room = min(every - step % every, steps - step)",
        now="room = min(every, steps - step)",
        tests=("test_loop",),
    ),
    Fault(
        name="Changes that are staged are missing from the patch of a run",
        function="commit_of",
        was='git("diff", "HEAD", "--no-color")',
        now='git("diff", "--no-color")',
        tests=("test_surroundings",),
    ),
    Fault(
        name="Augmentation is the same in every step",
        function="_feed",
        was="key = jax.random.fold_in(jax.random.key(seed), fetched.step)",
        now="key = jax.random.key(seed)",
        tests=("test_feed",),
    ),
    Fault(
        name="A batch fetched ahead may be that of a later step",
        function="_Ahead._scheduled",
        was="self._pool.submit(self.fetch, new)",
        now="self._pool.submit(lambda: self.fetch(new))",
        tests=("test_prefetch",),
    ),
    Fault(
        name="The vocabulary of captions knows words of validation and test",
        function="caption_feeds",
        was='(t for row in texts["train"] for t in row)',
        now="(t for rows in texts.values() for row in rows for t in row)",
        tests=("test_captioned",),
    ),
    Fault(
        name="Captions are cached by the number of scenes, whatever these are",
        function="captions_of",
        was='"split": split.digest}',
        now='"split": len(split)}',
        tests=("test_shapes",),
    ),
    Fault(
        name="A link may lead to a folder whose name begins with that of the root",
        function="inside",
        was="if not there.is_relative_to(root.resolve()):",
        now="if not str(there).startswith(str(root.resolve())):",
        tests=("test_folder", "test_archive"),
    ),
    Fault(
        name="A sweep may reach the test split through the data set",
        function="sealed",
        was='    if hasattr(inner, "test"):\n'
        '        parts["dataset"] = sealed(inner)\n',
        now="",
        tests=("test_populations",),
    ),
    Fault(
        name="A lease without a sign of life lasts until its worker is known dead",
        function="Ledger._expire",
        was="and not self._dead(worker)",
        now="or not self._dead(worker)",
        tests=("test_kills",),
    ),
    Fault(
        name="With several seeds, a rung goes on from states of other settings",
        function="_Training._inherit",
        was="first = entry.parent.place * replicas",
        now="first = entry.parent.place",
        tests=("test_sweep",),
    ),
    Fault(
        name="Precision and recall of samples are swapped",
        function="judged",
        was='"test": quality(tested.features, sampled.features)',
        now='"test": quality(sampled.features, tested.features)',
        tests=("test_samples",),
    ),
    Fault(
        name="The contracts take a NaN in bfloat16 for a finite number",
        function="finite",
        was="jnp.issubdtype(x.dtype, jnp.floating)",
        now="np.issubdtype(x.dtype, np.floating)",
        tests=("test_contracts",),
    ),
    Fault(
        name="The validation distance of a GAN is measured on the test images",
        function="main",
        was="pair = look(held[:]).features",
        now="pair = look(test[:]).features",
        tests=("test_frames",),
    ),
    Fault(
        name="Two processes may run in the same folder",
        function="_locked",
        was="fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        now="fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        tests=("test_session", "test_signals"),
    ),
    Fault(
        name="A file of a checkpoint that is not in its manifest is not noticed",
        function="verify",
        was="        if more := there - set(listed):\n"
        '            return f"{sorted(more)[0]} does not belong to it"\n',
        now="",
        tests=("test_checkpoints",),
    ),
]
