package files_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
)

// envKillDir makes this test binary the process that is killed.
const envKillDir = "LATCHKEY_TEST_KILL_DIR"

// generation gives a document whose keys all carry one number.
func generation(doc keystore.Doc, n int) keystore.Document {
	var d keystore.Document
	for i := range 20 {
		d.Keys.Keys = append(d.Keys.Keys, accesskey.Key{Name: fmt.Sprint("key", i), Value: fmt.Sprintf("generation %d %s", n, strings.Repeat("x", 200))})
	}
	if doc.IsHost() {
		d.Keys.Master = accesskey.Key{Value: d.Keys.Keys[0].Value}
		d.Keys.System, d.Keys.Keys = d.Keys.Keys[:10], d.Keys.Keys[10:]
	}
	return d
}

var killDocs = []keystore.Doc{keystore.HostDoc, "fn"}

// TestKilledChild is not a test of its own: it writes until it is killed,
// saying so once per write.
func TestKilledChild(t *testing.T) {
	dir := os.Getenv(envKillDir)
	if dir == "" {
		t.Skip(envKillDir + " is not set; TestKilledWritersLeaveWholeDocuments sets it")
	}
	s := open(dir, dataProtection(t, siteKey))
	for n := 0; ; n++ {
		for _, doc := range killDocs {
			put(t, s, doc, generation(doc, n))
			fmt.Println("written")
		}
	}
}

func TestKilledWritersLeaveWholeDocuments(t *testing.T) {
	dir := t.TempDir()
	s := open(dir, dataProtection(t, siteKey))
	for range 20 {
		killOne(t, dir, 1+rand.IntN(12), time.Duration(rand.IntN(3000))*time.Microsecond)
		for _, doc := range killDocs {
			wantOneGeneration(t, s, doc)
		}
	}
	put(t, s, "fn", generation("fn", -1)) // the dead hold no lock
	if got := names(t, dir); got != ".latchkey.lock fn.json host.json" {
		t.Errorf("folder holds %s", got)
	}
}

// killOne starts a writer and kills it some time after its nth write.
func killOne(t *testing.T, dir string, n int, after time.Duration) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledChild$")
	child.Env = append(os.Environ(), envKillDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range n {
		if !lines.Scan() || lines.Text() != "written" {
			t.Fatalf("the writer says %q, %v", lines.Text(), lines.Err())
		}
	}
	<-clock.Real{}.NewTimer(after).C() // any moment of the next write will do
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // Wait must not close the pipe under the reader
	}
	var exit *exec.ExitError
	if err := child.Wait(); !errors.As(err, &exit) {
		t.Fatalf("the writer was not killed: %v", err)
	}
}

func wantOneGeneration(t *testing.T, s keystore.Store, doc keystore.Doc) {
	t.Helper()
	d, _, err := s.Load(t.Context(), doc)
	if errors.Is(err, keystore.ErrNotFound) && !doc.IsHost() {
		return // killed after its first write, which is the host document's
	}
	if err != nil {
		t.Fatal(err)
	}
	keys := append(d.Keys.Keys, d.Keys.System...)
	for _, k := range keys {
		if k.Value != keys[0].Value || len(keys) != 20 {
			t.Fatalf("%s mixes %q and %q in %d keys", doc, k.Value, keys[0].Value, len(keys))
		}
	}
}
