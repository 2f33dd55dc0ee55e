package functions_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
)

func ifMatch(tag string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("If-Match", tag) }
}

// etag reads a key's tag, in the header and among what is kept.
func (w *world) etag(t *testing.T, path string) string {
	t.Helper()
	rec := w.want(t, "GET", path, "", 200, "*")
	tag := rec.Header().Get("ETag")
	if strings.Trim(tag, `"`) == "" || w.kept(t, path)["etag"] != strings.Trim(tag, `"`) {
		t.Fatalf("%s: tag %s, kept %v", path, tag, w.kept(t, path)["etag"])
	}
	return tag
}

// TestAKeyIsChangedOnlyAsItWasSeen: with If-Match calls about a key that is another
// one by now change nothing, and without it all is as ever.
func TestAKeyIsChangedOnlyAsItWasSeen(t *testing.T) {
	w := newWorld(t)
	w.deploy(t, "1")
	for _, path := range []string{site + "/host/default/functionKeys/default", site + "/functions/hello/keys/default", site + "/host/default/masterKey/_master", site + "/host/default/functionKeys/mine"} {
		if strings.HasSuffix(path, "/mine") {
			w.want(t, "PUT", path, "", 201, "*")
		}
		seen := w.etag(t, path)
		first := w.call("owner", "PUT", path, "", ifMatch(seen))
		if first.Code/100 != 2 || first.Header().Get("ETag") != w.etag(t, path) || first.Header().Get("ETag") == seen {
			t.Fatalf("%s: %d %s, tag %s", path, first.Code, first.Body, first.Header().Get("ETag"))
		}
		after := w.etag(t, path)
		for call, body := range map[string]string{
			"PUT ": "", "PUT  ": `{"properties":{"value":"a chosen value"}}`, "PUT   ": `{"properties":{"note":"x"}}`, "PATCH ": `{"note":"x"}`,
			"POST /rotate": "", "POST /disable": "", "POST /enable": "", "POST /expire": "", "POST /endOverlap": "", "DELETE ": "",
		} {
			method, action, _ := strings.Cut(call, " ")
			if method == "DELETE" && strings.HasSuffix(path, "/_master") || action == "/disable" && strings.HasSuffix(path, "/_master") {
				continue // refused in any case
			}
			rec := w.call("owner", method, path+strings.TrimSpace(action), body, ifMatch(seen))
			if rec.Code != http.StatusPreconditionFailed || !strings.Contains(rec.Body.String(), `"PreconditionFailed"`) {
				t.Errorf("%s %s with %s: %d %s", method, path+action, body, rec.Code, rec.Body)
			}
		}
		if w.etag(t, path) != after {
			t.Errorf("%s: something was changed", path)
		}
		if rec := w.call("owner", "PUT", path, "", ifMatch("*")); rec.Code/100 != 2 {
			t.Errorf("%s with any tag: %d %s", path, rec.Code, rec.Body)
		}
	}
	none := site + "/host/default/functionKeys/none"
	if rec := w.call("owner", "PUT", none, "", ifMatch("*")); rec.Code != http.StatusPreconditionFailed {
		t.Errorf("a key that is not there: %d %s", rec.Code, rec.Body)
	}
	w.want(t, "GET", none, "", 404, "*")
	fresh := func(r *http.Request) { r.Header.Set("If-None-Match", "*") }
	if rec := w.call("owner", "PUT", none, "", fresh); rec.Code != http.StatusCreated {
		t.Errorf("a key that is to be new: %d %s", rec.Code, rec.Body)
	}
	if rec := w.call("owner", "PUT", none, "", fresh); rec.Code != http.StatusPreconditionFailed {
		t.Errorf("one that is there: %d %s", rec.Code, rec.Body)
	}
}

// TestOfManyWhoRenewTheSameKeyOneIsTold the value that works.
func TestOfManyWhoRenewTheSameKeyOneIsTold(t *testing.T) {
	w := newWorld(t)
	path := site + "/host/default/functionKeys/default"
	seen := w.etag(t, path)
	codes := make([]int, 16)
	var work sync.WaitGroup
	for i := range codes {
		work.Go(func() { codes[i] = w.call("owner", "PUT", path, "", ifMatch(seen)).Code })
	}
	work.Wait()
	count := map[int]int{}
	for _, code := range codes {
		count[code]++
	}
	if count[http.StatusOK] != 1 || count[http.StatusPreconditionFailed] != len(codes)-1 {
		t.Errorf("answers: %v", count)
	}
}
