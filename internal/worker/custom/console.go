package custom

import (
	"bufio"
	"io"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/internal/worker"
)

const (
	maxLine   = 64 << 10 // bytes; longer lines come in pieces
	tailLines = 10
)

// stream is one of the process's outputs.
type stream uint8

const (
	stdout stream = iota
	stderr
)

// readLines hands every line of r to line until r ends. A line longer than
// maxLine is handed over in pieces of that size.
func readLines(r io.Reader, line func(string)) {
	br := bufio.NewReaderSize(r, maxLine)
	for {
		b, err := br.ReadSlice('\n')
		if len(b) > 0 {
			line(strings.TrimRight(strings.ToValidUTF8(string(b), "\uFFFD"), "\r\n"))
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

// console takes one line of output: it keeps the last ones and logs all,
//
//	for the one invocation in flight if there is exactly one.
func (w *Worker) console(from stream, text string) {
	if from == stderr {
		w.errors.add(text)
	}
	w.said.add(text)
	l := worker.LogLine{Source: "console"}
	l.Level, l.Message = classify(from, text)
	if inv := w.calls.only(); inv != nil {
		l.InvocationID, l.Function = inv.ID, inv.Function.Name
	}
	w.cfg.Logs(l)
}

const consolePrefix = "LanguageWorkerConsoleLog"

// classify gives the level of a line and its text without the marker that some
// workers put before their own messages. Everything on standard output is
// information; on standard error words decide, as in the stock host.
func classify(from stream, text string) (level, message string) {
	if rest, marked := strings.CutPrefix(text, consolePrefix); marked {
		text = rest
		if l, message, ok := bracketLevel(rest); ok {
			return l, message
		}
	}
	if from == stdout {
		return "info", text
	}
	return stderrLevel(strings.ToLower(text)), text
}

func stderrLevel(lower string) string {
	if strings.Contains(lower, "warn") {
		return "warn"
	}
	for _, word := range [...]string{"error", "fail", "severe", "unhandled exception"} {
		if strings.Contains(lower, word) {
			return "error"
		}
	}
	return "info"
}

// bracketLevel reads "[error] text" behind the marker.
func bracketLevel(s string) (level, message string, ok bool) {
	name, message, found := strings.Cut(strings.TrimPrefix(s, "["), "]")
	if !found || !strings.HasPrefix(s, "[") {
		return "", "", false
	}
	switch strings.ToLower(name) {
	case "error", "critical":
		level = "error"
	case "warn", "warning":
		level = "warn"
	case "info", "information":
		level = "info"
	case "debug", "trace":
		level = "debug"
	}
	return level, strings.TrimSpace(message), level != ""
}

// tail keeps the last lines of an output. Safe for concurrent use.
type tail struct {
	mu   sync.Mutex
	last []string
}

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.last) == tailLines {
		t.last = append(t.last[:0], t.last[1:]...)
	}
	t.last = append(t.last, line)
}

func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.last...)
}

// calls are the invocations in flight. Safe for concurrent use; the zero value
// is empty.
type calls struct {
	mu  sync.Mutex
	now map[*worker.Invocation]struct{}
}

func (c *calls) begin(inv *worker.Invocation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil {
		c.now = map[*worker.Invocation]struct{}{}
	}
	c.now[inv] = struct{}{}
}

func (c *calls) end(inv *worker.Invocation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.now, inv)
}

// only gives the invocation in flight if there is exactly one, else nil.
func (c *calls) only() *worker.Invocation {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.now) != 1 {
		return nil
	}
	for inv := range c.now {
		return inv
	}
	return nil
}
