package keystore

import "context"

// Prober is the optional power to find out what may be done in a store without
// leaving a trace in it, also in a store that was opened for looking only.
type Prober interface {
	// Probe tries writing and deleting. An Err of nil says that it is permitted,
	// problem.Unsupported that it was not tried, for the reason it gives.
	Probe(ctx context.Context) []Permission
}

// Permission is how one kind of access turned out.
type Permission struct {
	What string // "write", "delete", or what else a store has
	Err  error
}
