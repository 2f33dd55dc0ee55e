package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/problem"
)

// Paces of following a log.
const (
	logPace  = 250 * time.Millisecond // between calls, when there is much to read
	logAgain = 2 * time.Second        // before a node that does not answer is asked again
)

func newAppLogs(env *Env) *cobra.Command {
	s, q, follow := newSession(env), manage.LogQuery{}, false
	level := &choice{"debug", []string{"debug", "information", "warning", "error"}}
	c := &cobra.Command{
		Use:   "logs NAME",
		Short: "Show what an app wrote lately, and follow it",
		Long: "Shows the last lines of an app on the node that answers, which keeps a few hundred of them in\n" +
			"memory: what its functions log, what its worker writes, and what its host says of it. With\n" +
			"--output json each line is an object.",
		Example: "  latchkey app logs orders --follow\n  latchkey app logs orders --function charge --level warning",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.Tail < 0 || q.Tail > 500 {
				return usageError{errors.New("--tail is from 0 to 500")}
			}
			q.Level = level.value
			return s.logs(cmd.Context(), args[0], q, follow)
		},
	}
	s.addTo(c)
	c.Flags().BoolVar(&follow, "follow", false, "go on with new lines until interrupted")
	c.Flags().IntVar(&q.Tail, "tail", 100, "lines of the past, from 0 to 500")
	c.Flags().StringVar(&q.Function, "function", "", "only lines of this function")
	c.Flags().StringVar(&q.Contains, "contains", "", "only lines that have this text, in any case")
	level.addAs(c, "level", "only lines of this level and above")
	return c
}

func (s *session) logs(ctx context.Context, name string, q manage.LogQuery, follow bool) error {
	in, a, err := s.openApp(ctx, name)
	if err != nil {
		return err
	}
	part, err := in.Log(ctx, a, q)
	if err != nil {
		return err
	}
	if len(part.Others) > 0 {
		fmt.Fprintf(s.env.Stderr, "lines of node %s; those of %s are at those nodes\n", printable(part.Node), printable(strings.Join(part.Others, ", ")))
	}
	for away := false; ; {
		if err == nil {
			away = false
			if err := s.printLog(part); err != nil || !follow {
				return err
			}
			q.After = part.After
		}
		part, err = in.Log(ctx, a, q)
		wait := logPace
		switch kind := problem.KindOf(err); {
		case ctx.Err() != nil:
			return nil // that is how one stops following
		case err != nil && kind != problem.Unavailable && kind != problem.Timeout:
			return err
		case err != nil:
			if wait = logAgain; !away {
				away = true
				fmt.Fprintln(s.env.Stderr, "the node does not answer; following goes on when it does")
			}
		}
		if !pauseFor(ctx, wait) {
			return nil
		}
	}
}

// pauseFor waits; false when ctx has ended.
func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *session) printLog(p manage.LogPart) error {
	if p.Missed > 0 {
		fmt.Fprintf(s.env.Stderr, "%d lines were left out: they came faster than they can be kept\n", p.Missed)
	}
	for _, l := range p.Lines {
		text := logText(l)
		if s.out.is(formJSON) {
			raw, err := json.Marshal(l)
			if err != nil {
				return err
			}
			text = visibleJSON(string(raw))
		}
		if _, err := fmt.Fprintln(s.env.Stdout, text); err != nil {
			return err
		}
	}
	return nil
}

// logText gives a line for people; what it has of further lines is set in.
func logText(l manage.LogLine) string {
	of := l.Function
	if of == "" {
		of = "(" + l.Source + ")"
	}
	lines := strings.Split(strings.ReplaceAll(strings.TrimRight(l.Message, "\n"), "\t", "    "), "\n")
	for i := range lines {
		lines[i] = visible(lines[i])
	}
	return l.Time.UTC().Format("2006-01-02 15:04:05.000") + "  " + visible(l.Level) + "  " + printable(of) + "  " + strings.Join(lines, "\n    ")
}
