// Package wire owns the messages that a functions host and a language worker
// exchange, as Go types generated from wire.proto and nullable.proto ("make
// proto"). Numbers and types are those of existing workers; a test compares them
// with a list that was taken from their protocol, not from these files. The
// package knows nothing of what the messages are for.
package wire
