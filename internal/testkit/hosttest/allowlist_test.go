package hosttest_test

import (
	"testing"

	"github.com/latchkey/latchkey/internal/testkit"
)

// TestInternalRequestsByAllowList: requests that came past the front end need no
// key where the list has their path; from outside they always do.
func TestInternalRequestsByAllowList(t *testing.T) {
	paths := map[string]string{"/admin/host/synctriggers": "", "/admin/host/log": `[]`}
	for name, tc := range map[string]struct {
		list  string
		given bool
		open  map[string]bool
	}{
		"no list":        {open: map[string]bool{"/admin/host/synctriggers": true, "/admin/host/log": true}},
		"empty":          {given: true},
		"a bar":          {list: "|", given: true},
		"other paths":    {list: "/admin/host/ping|/admin/host/lo|/runtime", given: true},
		"both":           {list: "/admin/host/log|/admin/host/synctriggers", given: true, open: map[string]bool{"/admin/host/synctriggers": true, "/admin/host/log": true}},
		"a prefix":       {list: "/Admin/Host", given: true, open: map[string]bool{"/admin/host/synctriggers": true, "/admin/host/log": true}},
		"one of the two": {list: "|/admin/host/log", given: true, open: map[string]bool{"/admin/host/log": true}},
	} {
		t.Run(name, func(t *testing.T) {
			settings := platform(true, false)
			if tc.given {
				settings["InternalAuthApisAllowList"] = tc.list
			}
			h := testkit.Start(t, testkit.App{Settings: settings})
			outside := map[string]string{"X-ARR-LOG-ID": "1"}
			for path, body := range paths {
				status := 401
				if tc.open[path] {
					status = 200
				}
				for _, r := range []struct {
					request testkit.Request
					status  int
				}{
					{testkit.Request{}, status}, {testkit.Request{Header: outside}, 401},
					{testkit.Request{Header: outside, Key: h.Master(t)}, 200}, {testkit.Request{Key: h.Master(t)}, 200},
				} {
					r.request.Method, r.request.Path, r.request.Body = "POST", path, body
					if a := h.Send(t, r.request); a.Status != r.status {
						t.Errorf("%s, %d headers, key %v: %d, want %d", path, len(r.request.Header), r.request.Key != "", a.Status, r.status)
					}
				}
			}
		})
	}
}
