package nodeapp

import (
	"testing"

	"github.com/latchkey/latchkey/internal/server"
)

// TestFunctionsAreKnownWhileTheAppDoesNotRun reads the folder as commands do.
func TestFunctionsAreKnownWhileTheAppDoesNotRun(t *testing.T) {
	var cfg server.Config
	a := v4(`app.http('hello', { route: 'hi/{name}', authLevel: 'function', handler: () => ({}) });
app.timer('tick', { schedule: '0 0 0 1 1 *', handler: () => {} });`)
	a.adjust = func(c *server.Config) { cfg = *c }
	h := run(t, a)
	key := h.HostKey(t)
	h.Get(t, "/api/hi/you", key).WantStatus(t, 200)
	h.Stop(t)

	m, err := server.LoadModel(cfg)
	if err != nil {
		t.Fatal(err)
	}
	list := server.Describe(m, "http://x")
	if len(list) != 2 || list[0].URL != "http://x/api/hi/{name}" || list[0].AuthLevel != "function" || list[1].Trigger != "timerTrigger" ||
		len(list[0].Faults)+len(list[1].Faults) > 0 || list[0].FoundAt == nil {
		t.Errorf("known of the app that does not run: %+v", list)
	}
	keys, err := server.OpenKeys(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	if err := server.AddKeys(t.Context(), keys.Ring, list); err != nil || list[0].Keys["default"] == "" {
		t.Errorf("the keys that open it: %v, %v", list[0].Keys, err)
	}
	owners, err := server.OpenOwners(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := owners.Identify(list[0].Keys["default"]); len(got) != 1 || got[0].Function != "hello" {
		t.Errorf("the owner of the function's key: %+v", got)
	}
	if files, err := server.LoadFiles(cfg); err != nil || len(files.Functions) != 0 {
		t.Errorf("the files name functions: %v, %v", files, err)
	}
}
