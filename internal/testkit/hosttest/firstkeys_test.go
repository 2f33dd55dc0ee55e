package hosttest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/testkit"
)

func TestFirstRequestsShareOneKeySet(t *testing.T) {
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: threeLevels()})
	master := h.Master(t)
	answers := make(chan keysBody, 20)
	var wg sync.WaitGroup
	for i := range 20 {
		path := []string{"/admin/host/keys", "/admin/functions/closed/keys"}[i%2]
		wg.Go(func() {
			a, err := h.Try(t.Context(), testkit.Request{Path: path, Key: master})
			if err != nil {
				t.Error(err)
				return
			}
			var k keysBody
			a.JSON(t, &k)
			k.Links = k.Links[:1]
			answers <- k
		})
	}
	wg.Wait()
	close(answers)
	values := map[string]string{}
	for k := range answers {
		path := strings.TrimPrefix(k.Links[0].Href, h.Base)
		if len(k.Keys) != 1 || (values[path] != "" && values[path] != k.Keys[0].Value) {
			t.Errorf("%s: %+v, before %q", path, k, values[path])
		}
		values[path] = k.Keys[0].Value
	}
	if len(values) != 2 {
		t.Errorf("%v", values)
	}
}

func TestConcurrentFirstStartsMakeOneKeySet(t *testing.T) {
	shared := t.TempDir()
	masters := make(chan string, 10)
	var starts sync.WaitGroup
	for i := range 10 {
		starts.Go(func() {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				h := testkit.Start(t, testkit.App{Settings: map[string]string{"FUNCTIONS_SECRETS_PATH": shared}})
				masters <- h.Master(t) + " " + h.HostKey(t)
			})
		})
	}
	starts.Wait()
	close(masters)
	first, n := "", 0
	for m := range masters {
		if first == "" {
			first = m
		}
		if m != first {
			t.Error("two nodes have different keys")
		}
		n++
	}
	if n != 10 {
		t.Errorf("%d nodes started", n)
	}
}
