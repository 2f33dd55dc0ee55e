package fleet

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/server/hosted"
)

// running is one copy of an app with the requests in it.
type running struct {
	want Want
	app  *hosted.App
	up   chan struct{} // closed when it runs for the first time

	refs    atomic.Int64
	retired atomic.Bool
	empty   chan struct{} // gets a value when the last request leaves a retired copy

	cancel context.CancelFunc // stops the app
	ended  chan struct{}      // closed when it has stopped
	once   sync.Once
}

// start opens a copy and runs it. tell is called when its state changes.
func start(ctx context.Context, f *Fleet, w Want, tell func()) (*running, error) {
	opening, cancelOpening := context.WithTimeout(ctx, f.cfg.OpenTimeout)
	defer cancelOpening()
	cfg, release, err := f.cfg.Open(opening, w)
	if err != nil {
		return nil, err
	}
	app, err := hosted.New(cfg)
	if err != nil {
		if release != nil {
			release()
		}
		return nil, err
	}
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it ends by end, after its requests
	c := &running{want: w, app: app, up: make(chan struct{}), empty: make(chan struct{}, 1), cancel: cancel, ended: make(chan struct{})}
	go c.run(alive, release, tell)
	return c, nil
}

// run runs the app and, beside it, the watch over its state.
func (c *running) run(ctx context.Context, release func(), tell func()) {
	defer close(c.ended)
	var watching sync.WaitGroup
	watching.Go(func() { c.watch(ctx, tell) })
	c.app.Run(ctx)
	c.app.Close()
	if release != nil {
		release()
	}
	watching.Wait()
}

// watch reports the states of the instance until the copy is ended.
func (c *running) watch(ctx context.Context, tell func()) {
	at := instance.Default
	for {
		others := slices.DeleteFunc(slices.Clone(states), func(s instance.State) bool { return s == at })
		st, err := c.app.Instance().AwaitState(ctx, others...)
		if err != nil {
			return
		}
		if at = st.State; at == instance.Running {
			c.once.Do(func() { close(c.up) })
		}
		tell()
	}
}

// is reports whether c is a copy of what is wanted.
func (c *running) is(w *Want) bool {
	return c != nil && c.want.UID == w.UID && c.want.Generation == w.Generation
}

// enter counts a request in, unless the copy is being retired.
func (c *running) enter() bool {
	c.refs.Add(1)
	if c.retired.Load() {
		c.leave()
		return false
	}
	return true
}

func (c *running) leave() {
	if c.refs.Add(-1) == 0 && c.retired.Load() {
		select {
		case c.empty <- struct{}{}:
		default:
		}
	}
}

// longestDrain bounds how long a copy that serves no more waits for requests in
// progress.
const longestDrain = 10 * time.Minute

// end stops the app's listeners, lets the requests in progress finish, stops the
// app and waits for that.
// When ctx ends the app is stopped at once, which gives its own grace to requests.
func (c *running) end(ctx context.Context, clk clock.Clock) {
	c.retired.Store(true)
	c.app.Instance().Drain()
	timer := clk.NewTimer(longestDrain)
	defer timer.Stop()
	for late := false; c.refs.Load() > 0 && ctx.Err() == nil && !late; {
		select {
		case <-c.empty:
		case <-timer.C():
			late = true
		case <-ctx.Done():
		}
	}
	c.cancel()
	<-c.ended
}
