// Package keyring owns one app's access keys in use: it reads them from the
// app's key store, decides what a presented key opens, changes keys, and keeps
// going with the last good keys while the store cannot be read.
//
// Keys are generated only for a document that does not exist in a store that
// can be written; a document that is there but cannot be read, decrypted or
// understood is reported and left alone.
//
// The way of a request: [Ring.Authorize] looks the key up in an immutable
// snapshot, without locks or allocations. Only a key that matches nothing takes
// the longer way: documents not read so far are read, documents not re-read for
// a minute are read again, and what is still wrong is charged to its source.
//
// The package deliberately does not know HTTP, routes, which functions exist,
// what a level opens, or how keys are stored.
package keyring
