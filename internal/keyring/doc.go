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
// A key with metadata (accesskey.Meta) works within its restrictions only. They
// are judged after the value was recognised, by the ring's clock, and a refused
// key is a wrong one to its caller: the same answer, the same charge. Plain keys
// pay nothing for it. Rates are per node; quotas are summed up through the
// [UsageStore], so several nodes can together exceed one by what they serve
// between two writes.
//
// [Ring.Rotate] keeps the old value as a key of its own that ends by itself, with
// the same restrictions, rate and quota. Whatever replaces a value outright, Renew
// and Set, ends such former values, and Delete does.
//
// Metadata that somebody else dropped from a document is put back: from what the
// ring holds, or, after a restart, from its [Memory].
//
// The package deliberately does not know HTTP, routes, which functions exist,
// what a level opens, or how keys are stored.
package keyring
