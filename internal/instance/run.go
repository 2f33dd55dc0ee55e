package instance

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/applog"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/telemetry"
	"github.com/latchkey/latchkey/internal/worker"
)

// Run runs the app until ctx ends, then drains and stops it. Whatever goes wrong
// with the app shows in its status; Run goes on.
func (i *Instance) Run(ctx context.Context) {
	r := &runner{Instance: i, watch: newWatch(i)}
	defer r.watch.close()
	for ctx.Err() == nil {
		r.cycle(ctx)
	}
	deaf := i.deafen() // first, so that nothing new is started
	i.drop(Stopping)
	i.running.Wait()
	<-deaf
	i.set(Stopped, nil)
}

// runner is what Run's goroutine remembers from one cycle to the next.
type runner struct {
	*Instance
	watch   *watch
	crashes crashes
	// retrying says that the app failed and nothing has changed since: it stays
	// in state Error, and refuses work at once, until it runs.
	retrying bool
	again    bool // the next worker takes the place of one that failed
}

// outcome says why a cycle ended.
type outcome struct {
	restart bool          // something asked for a new model
	crash   *worker.Exit  // the worker died
	invalid error         // there was nothing to start
	failed  error         // the worker never took work
	served  time.Duration // how long the worker took work
}

// cycle loads the app, serves it until something happens and deals with that.
// Restarts asked for before the load are satisfied by it.
func (r *runner) cycle(ctx context.Context) {
	select {
	case <-r.restarts:
		r.forget()
	default:
	}
	r.watch.look() // before reading, so that no change falls between the two
	if r.offline() {
		r.goOffline()
		r.await(ctx, -1)
		return
	}
	model, wk, err := r.prepare()
	if err != nil {
		r.settle(ctx, outcome{invalid: err})
		return
	}
	r.settle(ctx, r.serve(ctx, model, wk))
}

// settle waits as long as the outcome of a cycle calls for.
func (r *runner) settle(ctx context.Context, out outcome) {
	switch {
	case ctx.Err() != nil:
		return
	case out.restart:
		r.forget()
		return
	}
	if out.crash != nil && out.crash.Restart() {
		r.cfg.Log.Info("the worker ended to be started anew")
		r.drop(Starting)
		r.again = true
		r.await(ctx, max(firstBackoff-out.served, 0))
		return
	}
	var pause time.Duration
	r.crashes, pause, r.retrying = r.crashes.next(r.cfg.Clock.Now(), out.served)
	if out.crash == nil {
		pause, r.retrying = max(pause, firstBackoff), true
	}
	r.again = out.invalid == nil
	r.report(out, pause)
	r.await(ctx, pause)
}

// forget starts a new page: the app has changed, or somebody asked for it.
func (r *runner) forget() {
	r.crashes, r.retrying, r.again = crashes{}, false, false
}

// report publishes what went wrong. A failure that only repeats itself, while
// the app is tried again, is not told anew.
func (r *runner) report(out outcome, pause time.Duration) {
	state, texts := Starting, reasons(out)
	if r.retrying {
		state = Error
		r.hush() // what they would start could not run
	}
	for i, t := range texts { // they can quote what the app says, and all who may read the app see them
		texts[i] = telemetry.RedactText(applog.Plain(t))
	}
	level, before := slog.LevelError, r.Status()
	if out.crash == nil && before.State == Error && slices.Equal(before.Errors, texts) {
		level = slog.LevelDebug
	}
	r.drop(state, texts...)
	msg := "the app cannot be started"
	if out.crash != nil {
		msg = "the worker ended by itself"
	}
	for _, t := range texts {
		r.cfg.Log.Log(context.Background(), level, msg, "reason", t, "failures", r.crashes.count, "next_try_in", pause.String())
	}
}

// reasons gives what went wrong in words for people.
func reasons(out outcome) []string {
	switch {
	case out.crash != nil:
		return []string{crashText(*out.crash)}
	case out.failed != nil:
		return errorTexts(out.failed)
	}
	return errorTexts(out.invalid)
}

func errorTexts(err error) []string {
	if texts := faultTexts(err); texts != nil {
		return texts
	}
	text := err.Error()
	if next := problem.NextOf(err); next != "" {
		text += "; " + next
	}
	return []string{text}
}

func crashText(e worker.Exit) string {
	text := fmt.Sprintf("the worker ended with exit code %d", e.Code)
	if e.Signal != "" {
		text = "the worker was ended by signal " + e.Signal
	}
	if len(e.LastLogs) > 0 {
		text += "; its last output: " + strings.Join(e.LastLogs, " | ")
	}
	return text
}

// await waits until pause is over (never, if it is negative), a restart is asked
// for, or ctx ends.
func (r *runner) await(ctx context.Context, pause time.Duration) {
	var over <-chan time.Time
	if pause >= 0 {
		t := r.cfg.Clock.NewTimer(pause)
		defer t.Stop()
		over = t.C()
	}
	select {
	case <-ctx.Done():
	case <-over:
	case reason := <-r.restarts:
		r.restarting(reason)
		r.forget()
	}
}

func (r *runner) restarting(reason string) { r.cfg.Log.Info("restarting", "reason", reason) }
