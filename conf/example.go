package conf

import _ "embed"

//go:embed example.yaml
var example string

// Example returns a commented job file that is valid as it stands; vista-mr init writes it.
func Example() string { return example }
