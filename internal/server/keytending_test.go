package server

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/server/keynotes"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// openTended opens a node that is not run, with a clock of the test's.
func openTended(t *testing.T) (*Node, *clock.Manual, *lines) {
	t.Helper()
	c, log := clock.NewManual(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)), &lines{}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "host.json"), []byte(`{"version": "2.0"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	n, err := Open(t.Context(), Config{Dir: dir, Environ: []string{"PATH=" + os.Getenv("PATH")}, Clock: c, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n, c, log
}

func hostKey(t *testing.T, n *Node) string {
	t.Helper()
	key, err := n.keys.Get(t.Context(), keyring.HostKeys(), "default")
	if err != nil {
		t.Fatal(err)
	}
	return key.Value
}

func TestANodeRotatesWhatIsDueAndRemovesWhatEndedLongAgo(t *testing.T) {
	n, c, log := openTended(t)
	_, err := n.keys.SetMeta(t.Context(), keyring.HostKeys(), "default", func(m *accesskey.Meta) error {
		m.RotateEvery, m.Overlap = 48*time.Hour, time.Hour
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	old := hostKey(t, n)
	n.tendOnce(t.Context(), "")
	if hostKey(t, n) != old {
		t.Fatal("rotated before it was due")
	}
	c.Advance(49 * time.Hour)
	n.tendOnce(t.Context(), "")
	if hostKey(t, n) == old || !strings.Contains(log.String(), "keyRotated") {
		t.Fatalf("not rotated, or without a word:\n%s", log)
	}
	if d := n.keys.Authorize(t.Context(), keyring.Request{Key: old}); d.Retired == "" || !strings.Contains(log.String(), "retiredKeyUsed") {
		t.Errorf("the old value: %v, and the log says:\n%s", d.Reason, log)
	}
	c.Advance(2 * time.Hour)
	if d := n.keys.Authorize(t.Context(), keyring.Request{Key: old}); d.Reason != keyring.KeyExpired || !strings.Contains(log.String(), "keyRefused") {
		t.Errorf("the old value after its end: %v, and the log says:\n%s", d.Reason, log)
	}
	_, err = n.keys.SetMeta(t.Context(), keyring.HostKeys(), "default", func(m *accesskey.Meta) error {
		m.RotateEvery = 0
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Advance(8 * 24 * time.Hour)
	n.tendOnce(t.Context(), "")
	if list, err := n.keys.List(t.Context(), keyring.HostKeys()); err != nil || len(list) != 1 {
		t.Errorf("%d keys, %v", len(list), err)
	}
	if strings.Contains(log.String(), old) {
		t.Error("a value is in the log")
	}
}

func TestTendingEndsWithItsOwner(t *testing.T) {
	n, _, _ := openTended(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { n.tendKeys(ctx); close(ended) }()
	cancel()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("still tending")
	}
}

func TestUsesAndRestrictionsOutliveANode(t *testing.T) {
	n, c, _ := openTended(t)
	_, err := n.keys.SetMeta(t.Context(), keyring.HostKeys(), "default", func(m *accesskey.Meta) error {
		m.Quota = accesskey.Quota{N: 3, Per: accesskey.Month}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	value := hostKey(t, n)
	for range 2 {
		if d := n.keys.Authorize(t.Context(), keyring.Request{Key: value}); d.Reason != keyring.Matched {
			t.Fatal(d.Reason)
		}
	}
	n.Close()
	for _, name := range []string{keynotes.UsesFile, keynotes.RestrictionsFile} {
		text, err := os.ReadFile(filepath.Join(n.cfg.DataDir, keyNotesDir, name))
		if err != nil || strings.Contains(string(text), value) {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	again, err := Open(t.Context(), Config{Dir: n.cfg.Dir, Environ: n.cfg.Environ, Clock: c, Log: &lines{}})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for _, want := range []keyring.Reason{keyring.Matched, keyring.QuotaExceeded} {
		if d := again.keys.Authorize(t.Context(), keyring.Request{Key: value}); d.Reason != want {
			t.Errorf("%v, want %v", d.Reason, want)
		}
	}
	uses, err := again.keys.Usage(t.Context(), keyring.HostKeys())
	if err != nil || len(uses) != 1 || uses[0].Count != 3 {
		t.Errorf("%+v %v", uses, err)
	}
}
