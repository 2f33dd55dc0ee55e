package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func text(x string) Line { return Line{Text: x} }

func TestAStreamIsKeptInBounds(t *testing.T) {
	var all strings.Builder
	for i := range 10_000 {
		fmt.Fprintln(&all, "line", i)
	}
	all.WriteString(strings.Repeat("x", 100*longest) + "\r\nlast\nwithout an end")
	tail := newTail(wish{}, text)
	tail.read(strings.NewReader(all.String()))
	if len(tail.lines) != kept || tail.missed != 10_003-kept {
		t.Errorf("%d lines are kept, and %d are not", len(tail.lines), tail.missed)
	}
	tail.begun = true // what comes first is in place of what is shown, and misses nothing
	got, err := tail.next(t.Context())
	if n := len(got.Lines); err != nil || got.Missed != 10_003-kept || got.Lines[n-1].Text != "without an end" || got.Lines[n-2].Text != "last" || len(got.Lines[n-3].Text) != longest {
		t.Errorf("%d lines, %d missed, %v", len(got.Lines), got.Missed, err)
	}
	if _, err := tail.next(t.Context()); !errors.Is(err, errOver) {
		t.Error(err)
	}
}

func TestAFollowerGetsLinesAsTheyCome(t *testing.T) {
	from, to := io.Pipe()
	tail := newTail(wish{Text: "WANTED"}, text)
	go tail.read(from)
	_, _ = io.WriteString(to, "one wanted\nanother\n")
	got, err := tail.next(t.Context())
	if err != nil || !got.Reset || len(got.Lines) != 1 || got.Lines[0].Text != "one wanted" {
		t.Errorf("%+v, %v", got, err)
	}
	_, _ = io.WriteString(to, "wanted again\n")
	got, err = tail.next(t.Context())
	if err != nil || got.Reset || len(got.Lines) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tail.next(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	_ = to.Close()
	if _, err := tail.next(t.Context()); !errors.Is(err, errOver) {
		t.Error(err)
	}
}

func TestFollowersAreBounded(t *testing.T) {
	p := New(nil)
	if p.places.All != most || p.places.Each != each {
		t.Errorf("%d in all, %d of one principal", p.places.All, p.places.Each)
	}
	p.Close()
	p.Close()
}

func FuzzPlain(f *testing.F) {
	for _, s := range []string{"", "a\x1b[31mb", "\x1b", "\x1b[", "\x9b31m", "\r", "\u2066x", "\xff", "<script>", "one\ttwo"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := plain(s)
		if !utf8.ValidString(got) || strings.IndexFunc(got, odd) >= 0 || len(got) > 3*len(s) {
			t.Errorf("%q became %q", s, got)
		}
	})
}
