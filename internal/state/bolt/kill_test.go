package bolt_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/bolt"
)

// kills is how many rounds there are unless LATCHKEY_TEST_KILLS says it.
const kills = 5

// TestKilledProcessLosesNothing kills a process that writes, at random moments,
// again and again on one file. Every write that it acknowledged is there, each as
// a whole, and nothing else besides what each worker was just writing.
func TestKilledProcessLosesNothing(t *testing.T) {
	rounds := kills
	if text := os.Getenv("LATCHKEY_TEST_KILLS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "state")
	acked := make([][workers]ack, rounds)
	for round := range rounds {
		acked[round] = killed(t, path, round, 1+rand.IntN(300))
		s := openAt(t, path)
		for r := range round + 1 { // what earlier rounds left stays, too
			for w, a := range acked[r] {
				wantWritten(testContext(t), t, s, strconv.Itoa(r), w, a)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		wantSound(t, path)
	}
}

// ack is the last write of a worker that was acknowledged.
type ack struct {
	count    int // of writes
	revision state.Revision
}

// killed runs the writing program and kills it after a number of writes.
func killed(t *testing.T, path string, round, after int) (acked [workers]ack) {
	t.Helper()
	cmd := exec.CommandContext(testContext(t), os.Args[0], path, strconv.Itoa(round))
	cmd.Env = append(os.Environ(), role+"=killed")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, seen := bufio.NewScanner(out), 0
	for lines.Scan() { // also what it printed before it died
		var w, n int
		var rev state.Revision
		if _, err := fmt.Sscan(lines.Text(), &w, &n, &rev); err != nil {
			t.Fatalf("the program says %q", lines.Text())
		}
		acked[w] = ack{n + 1, rev}
		if seen++; seen == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || seen < after {
		t.Fatalf("the program ended by itself after %d writes: %v\n%s", seen, err, stderr.String())
	}
	return acked
}

// wantWritten compares a worker's documents with what its writes make of them: all
// that were acknowledged and perhaps the one that was under way.
func wantWritten(ctx context.Context, t *testing.T, s *bolt.Store, round string, worker int, a ack) {
	t.Helper()
	listing, err := s.List(ctx, state.Key(fmt.Sprintf("/kill/%s/%d/", round, worker)), state.Page{})
	if err != nil {
		t.Fatal(err)
	}
	if listing.Revision < a.revision {
		t.Errorf("the store is at %d, a write at %d was acknowledged", listing.Revision, a.revision)
	}
	count := a.count
	for _, doc := range listing.Documents {
		if doc.Key[len(doc.Key)-1] == 'n' && string(doc.Value) == fmt.Sprint(a.count) {
			count++ // the write that was under way had happened
		}
	}
	want := map[state.Key]string{}
	for n := range count {
		for _, op := range mixed(round, worker, n) {
			if want[op.Key] = string(op.Value); op.Kind == state.OpDelete {
				delete(want, op.Key)
			}
		}
	}
	for _, doc := range listing.Documents {
		if text, there := want[doc.Key]; !there || text != string(doc.Value) {
			t.Errorf("after %d writes %s has %.20q, want %.20q (%v)", count, doc.Key, doc.Value, text, there)
		}
		delete(want, doc.Key)
	}
	for key := range want {
		t.Errorf("after %d writes %s is missing", count, key)
	}
}

// wantSound lets the library check its file.
func wantSound(t *testing.T, path string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	_ = db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		return nil
	})
}

func TestFullDiskLosesNothing(t *testing.T) {
	cmd := exec.CommandContext(testContext(t), os.Args[0], t.TempDir())
	cmd.Env = append(os.Environ(), role+"=full")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
