"""The compact construction: telescoping partition, one polynomial or spline per chart, meet in the middle."""
