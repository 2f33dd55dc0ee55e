//go:build unix

package scan

import "syscall"

// openFlags refuse a symbolic link that took the place of a file after the walk
// saw it, and keep the opening of a pipe from blocking.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK
