package output_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/output"
)

func TestTailGivesTheLastLines(t *testing.T) {
	var b output.Buffer
	fmt.Fprint(&b, "one\ntwo\n\nthree\n")
	for tail, want := range map[int]string{0: "one\ntwo\n\nthree\n", 1: "three\n", 2: "\nthree\n", 3: "two\n\nthree\n", 4: "one\ntwo\n\nthree\n", 9: "one\ntwo\n\nthree\n"} {
		var out bytes.Buffer
		if err := b.Copy(t.Context(), engine.LogOptions{Tail: tail}, &out); err != nil || out.String() != want {
			t.Errorf("%d: %q %v", tail, out.String(), err)
		}
	}
}

func TestFollowersSeeEverythingOnceUntilTheEnd(t *testing.T) {
	var b output.Buffer
	r, w := io.Pipe()
	done := make(chan error)
	go func() {
		err := b.Copy(t.Context(), engine.LogOptions{Follow: true}, w)
		w.Close()
		done <- err
	}()
	go func() {
		for n := range 100 {
			fmt.Fprintln(&b, n)
		}
		b.End()
	}()
	text, _ := io.ReadAll(r)
	if lines := strings.Fields(string(text)); len(lines) != 100 || lines[99] != "99" {
		t.Errorf("%d lines: %s", len(lines), text)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTheOldestIsDropped(t *testing.T) {
	var b output.Buffer
	for range 100 {
		b.Write(bytes.Repeat([]byte("x"), 16<<10))
	}
	b.Write([]byte("last"))
	var out bytes.Buffer
	if err := b.Copy(t.Context(), engine.LogOptions{}, &out); err != nil || out.Len() > 600<<10 || !strings.HasSuffix(out.String(), "last") {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
}
