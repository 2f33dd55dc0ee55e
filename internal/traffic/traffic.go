// Package traffic owns how many requests apps get: counters that cost a request two
// atomic additions, and a book of what they came to, by the minute for an hour and
// by the quarter of an hour for a day, of this node and of what others tell. It does
// not know what apps are, how nodes reach each other, or who asks.
package traffic

import (
	"sync/atomic"
	"time"
)

// Class is a class of answers, as charts tell them apart.
type Class uint8

// Classes. The single statuses are not in the class of their hundred.
const (
	Other   Class = iota // no status that there is
	S1xx                 // switched to another protocol
	S2xx                 // done
	S3xx                 // elsewhere
	S401                 // not signed in
	S403                 // not allowed
	S404                 // not there
	S406                 // not acceptable
	S4xx                 // another fault of the caller
	S5xx                 // a fault of the app
	classes              // how many there are
)

// Classes is how many classes there are.
const Classes = int(classes)

// ClassOf gives the class of a status.
func ClassOf(status int) Class {
	switch status {
	case 401:
		return S401
	case 403:
		return S403
	case 404:
		return S404
	case 406:
		return S406
	}
	switch status / 100 {
	case 1:
		return S1xx
	case 2:
		return S2xx
	case 3:
		return S3xx
	case 4:
		return S4xx
	case 5:
		return S5xx
	}
	return Other
}

// Counter counts the requests of one app. The zero Counter is ready; it is safe for
// concurrent use and must not be copied.
type Counter struct {
	_      [64]byte // keeps busy counters off the cache lines of what is beside
	counts [classes]atomic.Uint64
	micros atomic.Uint64
	_      [40]byte
}

// Observe counts a request that was answered with status after d.
func (c *Counter) Observe(status int, d time.Duration) {
	c.counts[ClassOf(status)].Add(1)
	if d > 0 {
		c.micros.Add(uint64(d / time.Microsecond))
	}
}

// Total gives what was counted so far.
func (c *Counter) Total() (s Sum) {
	for i := range c.counts {
		s.Counts[i] = c.counts[i].Load()
	}
	s.Micros = c.micros.Load()
	return s
}

// Sum is what requests of some time came to.
type Sum struct {
	Counts [Classes]uint64
	Micros uint64 // that answering took, together
}

// Requests gives their number.
func (s Sum) Requests() (n uint64) {
	for _, c := range s.Counts {
		n += c
	}
	return n
}

// Failed gives the number of those that the app failed to answer.
func (s Sum) Failed() uint64 { return s.Counts[S5xx] }

// Refused gives the number of those that were the caller's fault.
func (s Sum) Refused() uint64 {
	return s.Counts[S401] + s.Counts[S403] + s.Counts[S404] + s.Counts[S406] + s.Counts[S4xx]
}

// IsZero reports whether there were none.
func (s Sum) IsZero() bool { return s == Sum{} }

// Plus adds up.
func (s Sum) Plus(o Sum) Sum {
	for i := range s.Counts {
		s.Counts[i] += o.Counts[i]
	}
	s.Micros += o.Micros
	return s
}

// since gives what was added after before. A counter that began anew, for another
// app of the name, has nothing to do with what was before.
func (s Sum) since(before Sum) Sum {
	d := s
	for i := range d.Counts {
		if s.Counts[i] < before.Counts[i] {
			return s
		}
		d.Counts[i] -= before.Counts[i]
	}
	if s.Micros < before.Micros {
		return s
	}
	d.Micros -= before.Micros
	return d
}
