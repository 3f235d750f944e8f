package mr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// unmarshalStrict refuses unknown fields and anything after the value: parameters come from
// a compiler of the same version, so a surprise in them is a mistake and not an extension.
func unmarshalStrict(data []byte, v any) error {
	if len(data) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("more than one JSON value")
	}
	return nil
}
