package tracker

// CPUTime is cpuTime for tests of other packages.
var CPUTime = cpuTime
