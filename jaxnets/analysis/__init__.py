"""Looking at what was learned: functions of arrays and functions, never of a model."""
