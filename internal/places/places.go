// Package places owns how much may go on at a time: in all, and of each caller, so that
// one caller leaves room for others. It does not know what goes on, nor what whoever
// finds no place is told.
package places

import "sync"

// Places are handed out and given back. The zero value of a bound is none. It is safe
// for concurrent use; the bounds are set before that.
type Places struct {
	All  int // at a time
	Each int // of one caller

	mu    sync.Mutex
	taken int
	by    map[string]int
}

// Take takes a place for a caller; false if there is none. leave gives it back;
// calling it again does nothing.
func (p *Places) Take(who string) (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.All > 0 && p.taken >= p.All || p.Each > 0 && p.by[who] >= p.Each {
		return nil, false
	}
	if p.by == nil {
		p.by = map[string]int{}
	}
	p.taken++
	p.by[who]++
	return sync.OnceFunc(func() { p.give(who) }), true
}

func (p *Places) give(who string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.by[who]--; p.by[who] == 0 {
		delete(p.by, who)
	}
}

// Taken gives how many places are taken.
func (p *Places) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}
