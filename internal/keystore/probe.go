package keystore

import "context"

// Prober is the optional power to find out what may be done in a store without
// leaving a trace in it, also in a store that was opened for looking only.
type Prober interface {
	// Probe tries writing and deleting. An Err of nil says that it is permitted.
	Probe(ctx context.Context) []Permission
}

// Permission is how one kind of access turned out.
type Permission struct {
	What string // "write" or "delete"
	Err  error
}
