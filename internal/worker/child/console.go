package child

import (
	"bufio"
	"io"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/internal/applog"
	"github.com/latchkey/latchkey/internal/telemetry"
)

const (
	maxLine   = 64 << 10 // bytes; longer lines come in pieces
	tailLines = 10
)

// Stream is one of a process's outputs.
type Stream uint8

const (
	Stdout Stream = iota
	Stderr
)

// ReadLines hands every line of r to line until r ends. A line longer than
// maxLine is handed over in pieces of that size.
func ReadLines(r io.Reader, line func(string)) {
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

// ConsolePrefix marks the lines in which a language worker speaks for itself.
const ConsolePrefix = "LanguageWorkerConsoleLog"

// Classify gives the level of a line and its text without the marker that some
// workers put before their own messages. Everything on standard output is
// information; on standard error words decide, as in the stock host.
func Classify(from Stream, text string) (level, message string) {
	if rest, marked := strings.CutPrefix(text, ConsolePrefix); marked {
		text = rest
		if l, message, ok := bracketLevel(rest); ok {
			return l, message
		}
	}
	if from == Stdout {
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

// Tail keeps the last ten lines of an output, without what is a secret by its form:
// they are quoted in errors, which others read than those who may read logs. Safe for
// concurrent use; the zero value is empty.
type Tail struct {
	mu   sync.Mutex
	last []string
}

// Add adds a line and drops the oldest when there are ten.
func (t *Tail) Add(line string) {
	line = telemetry.RedactText(applog.Plain(line))
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.last) == tailLines {
		t.last = append(t.last[:0], t.last[1:]...)
	}
	t.last = append(t.last, line)
}

// Lines gives the lines, newest last.
func (t *Tail) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.last...)
}
