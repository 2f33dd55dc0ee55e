package rpc

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

// terminateGrace is what a worker that ends by itself when told to is given.
const terminateGrace = 5 * time.Second

// Stop tells the processes to end, each in the way it understands, waits until
// ctx ends, then kills them. Invocations in progress fail with their process.
func (w *Worker) Stop(ctx context.Context) error {
	w.mu.Lock()
	first := !w.stopped
	w.stopped = true
	all := make([]*channel, 0, len(w.pids))
	for c := range w.pids {
		all = append(all, c)
	}
	started := w.started
	w.mu.Unlock()
	if !started {
		return nil
	}
	for _, c := range all {
		c.dismiss()
	}
	for _, c := range all {
		select {
		case <-c.proc.Done():
		case <-ctx.Done():
		}
	}
	w.end()
	for _, c := range all {
		c.proc.Kill()
	}
	w.tended.Wait()
	w.finish(lastExit(all))
	if first && w.door != nil {
		w.door.close()
	}
	return nil
}

func lastExit(all []*channel) worker.Exit {
	if len(all) == 0 {
		return worker.Exit{}
	}
	return all[0].exit()
}

// dismiss asks a process to end: by the message if it knows that, else by
// SIGTERM.
func (c *channel) dismiss() {
	if c.capabilities().terminate {
		m := &wire.StreamingMessage{Content: &wire.StreamingMessage_WorkerTerminate{
			WorkerTerminate: &wire.WorkerTerminate{GracePeriod: durationpb.New(terminateGrace)}}}
		select {
		case c.out <- m:
			return
		default:
		}
	}
	c.proc.Terminate()
}
