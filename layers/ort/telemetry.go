package ort

import "os"

// silence keeps the library from telling its makers about its use. Newer builds collect
// events in a database under the user's home and send them away; nobody who runs a job has agreed
// to that, and a job needs no network. The library looks at its environment when it is started.
func silence() error { return os.Setenv("ORT_DISABLE_TELEMETRY", "1") }
