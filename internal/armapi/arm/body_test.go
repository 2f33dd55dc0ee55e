package arm

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type sentBody struct {
	Location   string
	Tags       map[string]string
	Properties struct {
		ClientCount int
		SiteConfig  struct {
			AppSettings []struct{ Name, Value string }
		}
	}
}

func decode(c *Call) (Reply, error) {
	var b sentBody
	if err := c.JSON(&b); err != nil {
		return Reply{}, err
	}
	return OK(b), nil
}

func TestBodiesThatCannotBeUnderstoodAreExplained(t *testing.T) {
	tests := []struct{ name, body, target, text string }{
		{"empty", "", "", "the body is empty"},
		{"blank", " \n", "", "the body is empty"},
		{"not JSON", "{\n  \"location\": local\n}", "", "not JSON at line 2, column 15"},
		{"cut off", `{"location": "lo`, "", "not JSON at line 1"},
		{"two values", `{} {}`, "", "not JSON at line 1, column 4"},
		{"array", `[]`, "", "the body must not be of type array"},
		{"member", `{"location": {"a":1}}`, "Location", "member 'Location' must not be of type object"},
		{"number", `{"location": 471199}`, "Location", "must not be of type number (line 1)"},
		{"deep member", "{\"properties\":\n{\"siteConfig\":{\"appSettings\":[{\"name\":\"a\",\"value\":5}]}}}", "Properties.SiteConfig.AppSettings.Value", "of type number (line 2)"},
		{"endless nesting", strings.Repeat(`{"x":[`, 20000), "", "not JSON"},
	}
	f := newFixture(t, Operation{Method: "PUT", Pattern: "/x", Action: Open, Handler: decode})
	for _, tt := range tests {
		w := f.call("PUT", "/x"+version, tt.body)
		var got struct {
			Error struct{ Code, Message, Target string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if w.Code != 400 || got.Error.Code != "InvalidRequestContent" || !strings.Contains(got.Error.Message, tt.text) || !strings.EqualFold(got.Error.Target, tt.target) {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), "471199") {
			t.Errorf("%s: the value is told", tt.name)
		}
	}
}

func TestBodiesAreReadLeniently(t *testing.T) {
	f := newFixture(t, Operation{Method: "PUT", Pattern: "/x", Action: Open, Handler: decode})
	for _, body := range []string{
		`{"location":"local","unknown":{"x":[1]},"tags":null,"properties":{"clientCount":null}}`,
		"\ufeff" + `{"LOCATION":"local"}`,
		"\r\n\t{\"location\":\"local\"}\n\n",
	} {
		if w := f.call("PUT", "/x"+version, body); w.Code != 200 || !strings.Contains(w.Body.String(), `"Location":"local"`) {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	}
}

func TestBodiesOverTheLimitAreRefusedOnAGoodConnection(t *testing.T) {
	f := newFixture(t, Operation{Method: "PUT", Pattern: "/x", Action: Open, Handler: func(c *Call) (Reply, error) {
		body, err := c.Body()
		again, _ := c.Body()
		return OK(fmt.Sprint(len(body), len(again))), err
	}})
	s := httptest.NewTLSServer(f.api)
	defer s.Close()
	send := func(size int, chunked bool) (int, string) {
		var body io.Reader = bytes.NewReader(make([]byte, size))
		if chunked {
			body = io.MultiReader(body)
		}
		r, err := http.NewRequestWithContext(t.Context(), "PUT", s.URL+"/x"+version, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer owner")
		res, err := s.Client().Do(r)
		if err != nil {
			return 0, err.Error() // the server closed while the body was on its way
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
	if status, text := send(MaxBody, false); status != 200 || text != fmt.Sprintf(`"%d %d"`, MaxBody, MaxBody) {
		t.Errorf("at the limit: %d %s", status, text)
	}
	for _, chunked := range []bool{true, false} {
		if status, text := send(MaxBody+1, chunked); status != 413 && status != 0 {
			t.Errorf("over the limit, chunked %v: %d %s", chunked, status, text)
		}
		if status, text := send(10, chunked); status != 200 {
			t.Errorf("after that: %d %s", status, text)
		}
	}
	w := f.call("PUT", "/x"+version, strings.Repeat("x", MaxBody+1))
	if w.Code != 413 || code(t, w) != "RequestEntityTooLarge" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestListsAreAPageAtATime(t *testing.T) {
	all := []string{"a", "b", "c/ü", "d"}
	f := newFixture(t, Operation{Method: "GET", Pattern: "/list", Action: Open, Handler: func(c *Call) (Reply, error) {
		after, err := c.SkipToken()
		if err != nil {
			return Reply{}, err
		}
		most, err := c.Top(100)
		if err != nil {
			return Reply{}, err
		}
		from := 0
		for from < len(all) && all[from] <= after {
			from++
		}
		to := min(len(all), from+most)
		if to < len(all) {
			return List(c, all[from:to], all[to-1]), nil
		}
		return List(c, all[from:to], ""), nil
	}})
	var got []string
	pages, link := 0, "https://localhost:7443/list"+version+"&$top=3&$filter=a+b"
	for link != "" {
		u, err := url.Parse(link)
		if err != nil || u.Host != "localhost:7443" || u.Scheme != "https" || pages > 4 {
			t.Fatalf("%q: %v", link, err)
		}
		r := httptest.NewRequest("GET", link, nil)
		r.Host, r.TLS = u.Host, &tls.ConnectionState{}
		r.Header.Set("Authorization", "Bearer owner")
		w := httptest.NewRecorder()
		f.api.ServeHTTP(w, r)
		var p struct {
			Value    []string
			NextLink *string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if pages == 1 && (u.Query().Get("$filter") != "a b" || u.Query().Get("api-version") == "") {
			t.Errorf("the rest of the query is lost: %s", link)
		}
		got, link, pages = append(got, p.Value...), "", pages+1
		if p.NextLink != nil {
			link = *p.NextLink
		}
	}
	if diff := cmp.Diff(all, got); diff != "" || pages != 2 {
		t.Errorf("%d pages: %s", pages, diff)
	}
	if w := f.call("GET", "/list"+version+"&$skiptoken=eg", ""); w.Body.String() != `{"value":[],"nextLink":null}` {
		t.Errorf("%s", w.Body)
	}
	for _, query := range []string{"&$skiptoken=!", "&$top=0", "&$top=x"} {
		if w := f.call("GET", "/list"+version+query, ""); w.Code != 400 {
			t.Errorf("%s: %d", query, w.Code)
		}
	}
}

func TestPreconditions(t *testing.T) {
	tests := []struct {
		method, match, noneMatch string
		exists, fails            bool
	}{
		{"PUT", "", "", true, false},
		{"PUT", `"A1"`, "", true, false},
		{"PUT", `"B", W/"A1"`, "", true, false},
		{"PUT", "A1", "", true, false},
		{"PUT", `"B"`, "", true, true},
		{"PUT", `"A1"`, "", false, true},
		{"PUT", "*", "", true, false},
		{"PUT", "*", "", false, true},
		{"PUT", "", "*", true, true},
		{"PUT", "", "*", false, false},
		{"PUT", "", `"A1"`, true, true},
		{"PUT", "", `"B"`, true, false},
		{"GET", "", "*", true, false},
		{"DELETE", `"B"`, "", true, true},
	}
	for _, tt := range tests {
		f := newFixture(t, Operation{Method: tt.method, Pattern: "/x", Action: Open, Handler: func(c *Call) (Reply, error) {
			return OK(nil).WithETag("A1"), c.Precondition("A1", tt.exists)
		}})
		w := f.call(tt.method, "/x"+version, "", "If-Match", tt.match, "If-None-Match", tt.noneMatch)
		if fails := w.Code == 412; fails != tt.fails || fails && code(t, w) != "PreconditionFailed" {
			t.Errorf("%+v: %d %s", tt, w.Code, w.Body)
		}
		if !tt.fails && w.Header().Get("ETag") != `"A1"` {
			t.Errorf("%+v: %v", tt, w.Header())
		}
	}
}

func TestAcceptedTellsWhereToAsk(t *testing.T) {
	f := newFixture(t, Operation{Method: "POST", Pattern: "/x", Action: Open, Handler: func(c *Call) (Reply, error) {
		return Accepted(c.BaseURL+"/status/1", nil), nil
	}}, Operation{Method: "DELETE", Pattern: "/x", Action: Open, Handler: func(*Call) (Reply, error) { return NoContent(), nil }})
	w := f.call("POST", "/x"+version, "")
	for _, name := range []string{"Azure-AsyncOperation", "Location"} {
		if got := w.Header().Get(name); w.Code != 202 || got != "https://localhost:7443/status/1" {
			t.Errorf("%d %s: %q", w.Code, name, got)
		}
	}
	if w := f.call("DELETE", "/x"+version, ""); w.Code != 204 || w.Body.Len() > 0 || w.Header().Get("Content-Type") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}
