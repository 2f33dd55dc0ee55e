package funcapp

import "strconv"

// String gives the fault as one line for people: where, what, what to do.
func (f Fault) String() string {
	text := f.Message
	if f.Next != "" {
		text += "; " + f.Next
	}
	if f.File == "" {
		return text
	}
	where := f.File
	if f.Line > 0 {
		where += ":" + strconv.Itoa(f.Line)
	}
	return where + ": " + text
}
