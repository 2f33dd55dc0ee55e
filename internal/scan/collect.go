package scan

import (
	"context"
	"errors"
	"io/fs"

	"github.com/latchkey/latchkey/azfkey"
)

// collector turns events into findings, one at a time and in order.
type collector struct {
	opts  Options
	emit  func(Finding) error
	stats Stats
}

// collect takes jobs from the queue until it is closed.
func (c *collector) collect(ctx context.Context, order <-chan *job) error {
	for {
		select {
		case j, ok := <-order:
			if !ok {
				return nil
			}
			if err := c.drain(ctx, j); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *collector) drain(ctx context.Context, j *job) error {
	for {
		select {
		case e, ok := <-j.events:
			if !ok {
				return nil
			}
			if err := c.take(j, e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take counts an event and passes on what it says.
func (c *collector) take(j *job, e event) error {
	switch e.skipped {
	case skippedBinary:
		c.stats.Binary++
	case skippedSpecial:
		c.stats.Special++
	case skippedLink:
		c.stats.Links++
	}
	if e.ended {
		c.stats.Files++
		c.stats.Bytes += e.bytes
	}
	if e.err != nil {
		c.report(j, e.err)
	}
	if e.hit != nil {
		c.stats.Findings++
		return c.emit(c.finding(j, e.hit))
	}
	return nil
}

func (c *collector) report(j *job, err error) {
	c.stats.Problems++
	if c.opts.Problem != nil {
		c.opts.Problem(azfkey.Redact(j.show), withoutPath(err))
	}
}

// withoutPath takes the path out of an error of package os: it is said
// elsewhere, and there keys in it are masked.
func withoutPath(err error) error {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// finding drops the key itself once its owners are known.
func (c *collector) finding(j *job, h *hit) Finding {
	f := Finding{
		File:      azfkey.Redact(j.show),
		Line:      h.line,
		Column:    h.column,
		EndColumn: h.column + h.match.End - h.match.Start, // keys are ASCII
		Kind:      h.match.Kind,
		Masked:    azfkey.Mask(h.match.Key()),
	}
	if c.opts.Identify != nil {
		f.Owners = c.opts.Identify(h.match.Key())
	}
	return f
}
