package lane

import (
	"net"
	"sync/atomic"
	"time"
)

// stallTimeout is how long one write may wait for a client that does not read,
// as long as nginx waits.
const stallTimeout = 60 * time.Second

// patient is a client's connection, the lane's or net/http's, whose writes end
// when the client stops reading. Setting a deadline costs, so it is renewed only
// every deadlineSlack. A deadline somebody sets holds as well.
type patient struct {
	net.Conn
	renewed atomic.Int64 // Unix time in nanoseconds; 0 asks for renewal
	limit   atomic.Int64 // deadline set by others, in the same form; 0 is none
}

// Write writes p unless the client stops reading for stallTimeout.
func (p *patient) Write(b []byte) (int, error) {
	now := time.Now()
	if now.UnixNano()-p.renewed.Load() > int64(deadlineSlack) {
		p.renewed.Store(now.UnixNano())
		if err := p.Conn.SetWriteDeadline(p.until(now)); err != nil {
			return 0, err
		}
	}
	return p.Conn.Write(b)
}

func (p *patient) until(now time.Time) time.Time {
	stall := now.Add(stallTimeout + deadlineSlack)
	if limit := p.limit.Load(); limit != 0 && limit < stall.UnixNano() {
		return time.Unix(0, limit)
	}
	return stall
}

// SetWriteDeadline bounds writes besides; the zero time takes the bound away.
func (p *patient) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		p.limit.Store(0)
	} else {
		p.limit.Store(t.UnixNano())
	}
	p.renewed.Store(0)
	return p.Conn.SetWriteDeadline(p.until(time.Now()))
}

// SetDeadline sets both deadlines.
func (p *patient) SetDeadline(t time.Time) error {
	if err := p.SetReadDeadline(t); err != nil {
		return err
	}
	return p.SetWriteDeadline(t)
}
