package functions_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/functions"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	keys "github.com/latchkey/latchkey/internal/keystore/memory"
)

// kept gives what is kept about a key.
func (w *world) kept(t *testing.T, path string) map[string]any {
	t.Helper()
	answer := tree(t, w.want(t, "GET", path, "", 200, "*").Body.String()).(map[string]any)
	return answer["properties"].(map[string]any)
}

func TestWhatIsKeptAboutAKeyIsChangedMemberByMember(t *testing.T) {
	w := newWorld(t)
	w.deploy(t, "1")
	for _, path := range []string{site + "/host/default/functionKeys/default", site + "/functions/hello/keys/default", site + "/host/default/masterKey/_master"} {
		w.want(t, "PATCH", path, `{"properties":{"note":"for billing","owner":"ann","cidrs":["10.1.2.3/8","::1"],"methods":["get"],"rate":{"n":10,"per":"1m","burst":5}}}`, 200, "*")
		w.want(t, "PATCH", path, `{"note":null,"rotateEvery":"90d","overlap":"12h"}`, 200, "*") // the flat form
		got := w.kept(t, path)
		for name, want := range map[string]string{
			"owner": `"ann"`, "cidrs": `["10.0.0.0/8","::1/128"]`, "methods": `["GET"]`, "rate": `{"burst":5,"n":10,"per":"1m0s"}`,
			"rotateEvery": `"2160h0m0s"`, "overlap": `"12h0m0s"`, "state": `"active"`, "rotatesAt": `"2027-02-19T10:00:00Z"`,
		} {
			if text, _ := json.Marshal(got[name]); string(text) != want {
				t.Errorf("%s: %s is %s, want %s", path, name, text, want)
			}
		}
		if _, has := got["note"]; has {
			t.Errorf("%s: the note is still there", path)
		}
		if _, has := got["value"]; has {
			t.Errorf("%s: what is kept has the value", path)
		}
		back, _ := json.Marshal(map[string]any{"properties": got})
		w.want(t, "PATCH", path, string(back), 200, "*") // what was read can be sent back
	}
	w.want(t, "GET", site+"/host/default/functionKeys/none", "", 404, "*")
	w.want(t, "PATCH", site+"/host/default/functionKeys/none", `{"note":"x"}`, 404, "*")
	w.want(t, "PATCH", site+"/functions/none/keys/default", `{"note":"x"}`, 404, "*")
}

func TestBadRestrictionsAreRefusedByName(t *testing.T) {
	w := newWorld(t)
	path := site + "/host/default/functionKeys/default"
	for _, c := range []struct{ method, path, body, target string }{
		{"PATCH", path, `{"properties":{"expires":"2001-01-01T00:00:00Z"}}`, "expires"},
		{"PATCH", path, `{"properties":{"expires":"soon"}}`, "expires"},
		{"PATCH", path, `{"properties":{"cidrs":["10.0.0.0/8","10.0.0.0/33"]}}`, "cidrs[1]"},
		{"PATCH", path, `{"properties":{"methods":["GET","GTE"]}}`, "methods[1]"},
		{"PATCH", path, `{"properties":{"functions":["a b"]}}`, "functions[0]"},
		{"PATCH", path, `{"properties":{"rate":{"n":0,"per":"1m"}}}`, "rate.n"},
		{"PATCH", path, `{"properties":{"rate":{"n":5,"per":"1ns"}}}`, "rate.per"},
		{"PATCH", path, `{"properties":{"rate":"5/1m"}}`, "rate"},
		{"PATCH", path, `{"properties":{"quota":{"n":5,"per":"year"}}}`, "quota.per"},
		{"PATCH", path, `{"properties":{"overlap":"91d"}}`, "overlap"},
		{"PATCH", path, `{"properties":{"rotateEvery":"1s"}}`, "rotateEvery"},
		{"PATCH", path, `{"properties":{"disabled":"yes"}}`, "disabled"},
		{"PATCH", path, `{"properties":{"colour":"red"}}`, "colour"},
		{"PATCH", path, `{"properties":{"value":"v"}}`, "value"},
		{"POST", path + "/rotate", `{"overlap":"91d"}`, "overlap"},
		{"POST", path + "/rotate", `{"overlap":"0s"}`, "overlap"},
		{"POST", path + "/rotate", `{"properties":{"overlap":7}}`, "overlap"},
		{"POST", path + "/expire", `{"expires":"2001-01-01T00:00:00Z"}`, "expires"},
		{"PUT", path, `{"properties":{"value":"` + strings.Repeat("v", 40) + `","expires":"2001-01-01T00:00:00Z"}}`, "expires"},
		{"PUT", path, `{"properties":{"value":"a value","cidr":["10.0.0.0/8"]}}`, "cidr"},
		{"PUT", path, `{"Properties":{"value":"a value","CIDRs":["10.0.0.0/8"]}}`, "CIDRs"},
		{"PUT", path, `{"value":"a value","cidr":["10.0.0.0/8"]}`, "cidr"},
		{"PUT", path, `{"properties":{"value":"a value"},"cidrs":["10.0.0.0/8"]}`, "cidrs"},
		{"PUT", site + "/host/default/functionKeys/fresh", `{"properties":{"cidr":["10.0.0.0/8"]}}`, "cidr"},
		{"PATCH", site + "/host/default/masterKey/_master", `{"properties":{"disabled":true}}`, "disabled"},
	} {
		rec := w.want(t, c.method, c.path, c.body, 400, "*")
		var got struct {
			Error struct{ Message, Target string }
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || got.Error.Target != c.target || !strings.HasPrefix(got.Error.Message, c.target) {
			t.Errorf("%s %s: %s, want target %s", c.method, c.body, rec.Body, c.target)
		}
	}
	if got := w.kept(t, path); len(got) != 4 { // name, kind, etag, state
		t.Errorf("a refused change has left %v", got)
	}
	w.want(t, "GET", site+"/host/default/functionKeys/fresh", "", 404, "*")
}

// TestWhatStockClientsSendWithAKeyIsPassedOver in either form of the body, and what
// was read can be sent back.
func TestWhatStockClientsSendWithAKeyIsPassedOver(t *testing.T) {
	w := newWorld(t)
	path := site + "/host/default/functionKeys/stock"
	for _, body := range []string{
		`{"properties":{"name":"stock","value":"some value"}}`,
		`{"Properties":{"Name":"stock","Value":"some value"},"kind":null,"location":"westeurope","tags":{}}`,
		`{"name":"stock","value":"some value"}`,
		`{"id":"x","name":"stock","type":"Microsoft.Web/sites/host/functionKeys","location":"westeurope","kind":null,"value":"some value"}`,
	} {
		if rec := w.call("owner", "PUT", path, body); rec.Code != 201 && rec.Code != 200 || !strings.Contains(rec.Body.String(), `"some value"`) {
			t.Errorf("%s: %d %s", body, rec.Code, rec.Body)
		}
	}
	w.want(t, "PATCH", path, `{"note":"for billing","rate":{"n":10,"per":"1m"}}`, 200, "*")
	var read map[string]any
	if err := json.Unmarshal(w.want(t, "GET", path, "", 200, "*").Body.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	again, _ := json.Marshal(read)
	w.want(t, "PUT", path, string(again), 200, "*")
}

func TestKeysAreSwitchedOffAndEndedAndRotated(t *testing.T) {
	w := newWorld(t)
	w.deploy(t, "1")
	path := site + "/functions/hello/keys/default"
	state := func(want string) {
		t.Helper()
		if got := w.kept(t, path)["state"]; got != want {
			t.Errorf("state is %v, want %s", got, want)
		}
	}
	w.want(t, "POST", path+"/disable", "", 200, "*")
	state("disabled")
	w.want(t, "POST", path+"/enable", "", 200, "*")
	state("active")
	var rotated struct {
		Properties struct{ Value, Retired, Until string }
	}
	rec := w.want(t, "POST", path+"/rotate", `{"overlap":"7d"}`, 200, "*")
	if err := json.Unmarshal(rec.Body.Bytes(), &rotated); err != nil || len(rotated.Properties.Value) != 56 || rotated.Properties.Until != "2026-11-28T10:00:00Z" {
		t.Errorf("rotated: %s, %v", rec.Body, err)
	}
	if got, _ := json.Marshal(w.kept(t, path)["retiring"]); !strings.Contains(string(got), rotated.Properties.Retired) {
		t.Errorf("retiring: %s", got)
	}
	former := site + "/functions/hello/keys/" + rotated.Properties.Retired
	if got := w.kept(t, former); got["state"] != "retiring" || got["retires"] != "default" {
		t.Errorf("former: %v", got)
	}
	w.want(t, "POST", path+"/endOverlap", "", 200, "*")
	w.want(t, "GET", former, "", 404, "*")
	w.want(t, "POST", path+"/expire", `{"expires":"2030-01-31T12:00:00Z"}`, 200, "*")
	state("active")
	w.want(t, "POST", path+"/expire", "", 200, "*")
	state("expired")
	w.want(t, "POST", site+"/host/default/masterKey/_master/rotate", "", 200, "*")
	list := w.want(t, "GET", site+"/host/default/keyMetadata", "", 200, "*").Body.String()
	if !strings.Contains(list, `"retiring":[{"name":"_master.until-20261122T100000Z"`) || strings.Contains(list, "lkh1") || strings.Contains(list, "AzFu") {
		t.Errorf("all host keys: %s", list)
	}
	w.want(t, "GET", site+"/functions/hello/keyMetadata", "", 200, "*")
	w.want(t, "GET", path+"/usage", "", 400, "*") // nothing is counted in this test
}

func TestReadingWhatIsKeptTakesARightToReadAndChangingItARightToWrite(t *testing.T) {
	w := newWorld(t)
	w.deploy(t, "1")
	host, own := site+"/host/default/functionKeys/default", site+"/functions/hello/keys/default"
	for _, path := range []string{host, own, site + "/host/default/masterKey/_master", site + "/host/default/keyMetadata", site + "/functions/hello/keyMetadata"} {
		if rec := w.call("reader", "GET", path, ""); rec.Code != 200 {
			t.Errorf("a reader reads %s: %d %s", path, rec.Code, rec.Body)
		}
	}
	for _, action := range []string{"rotate", "disable", "enable", "expire", "endOverlap"} {
		for who, want := range map[string]int{"reader": 403, "stranger": 403, "keymaker": 200} {
			if rec := w.call(who, "POST", host+"/"+action, ""); rec.Code != want {
				t.Errorf("%s: %s of a host key: %d %s", who, action, rec.Code, rec.Body)
			}
		}
		for _, path := range []string{own, site + "/host/default/masterKey/_master"} {
			if rec := w.call("keymaker", "POST", path+"/"+action, ""); rec.Code != 403 {
				t.Errorf("who may write host keys: %s of %s: %d", action, path, rec.Code)
			}
		}
	}
	if rec := w.call("reader", "PATCH", host, `{"note":"x"}`); rec.Code != 403 {
		t.Errorf("a reader writes: %d", rec.Code)
	}
	if rec := w.call("keymaker", "POST", site+"/host/default/functionKeys/_master/rotate", ""); rec.Code != 400 {
		t.Errorf("the master key as a host key: %d", rec.Code)
	}
}

func TestAKeyIsMadeWithItsRestrictions(t *testing.T) {
	w := newWorld(t)
	path := site + "/host/default/functionKeys/partner"
	body := `{"properties":{"name":"partner","owner":"ann","cidrs":["10.0.0.0/8"]}}`
	read := func(status int) (value string) {
		t.Helper()
		var got struct {
			Properties struct{ Value, Owner, State string }
		}
		rec := w.want(t, "PUT", path, body, status, "*")
		if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || got.Properties.Owner != "ann" || got.Properties.State != "active" {
			t.Errorf("%s, %v", rec.Body, err)
		}
		return got.Properties.Value
	}
	first := read(201)
	if again := read(200); len(first) != 56 || again != first {
		t.Errorf("the second time is another value: %v", again != first)
	}
	if made := w.kept(t, path)["created"]; made == nil {
		t.Error("when it was made is not known")
	}
}

// TestWhenAKeyWasMadeIsNotedOnDemand: answers to stock clients stay as they are.
func TestWhenAKeyWasMadeIsNotedOnDemand(t *testing.T) {
	w := newWorld(t)
	path := site + "/host/default/functionKeys/"
	for name, c := range map[string]struct {
		body  string
		noted bool
	}{
		"stock": {`{"properties":{"name":"stock","value":"some value"}}`, false},
		"ours":  {`{"properties":{"name":"ours","value":"another value","created":null}}`, true},
	} {
		w.want(t, "PUT", path+name, c.body, 201, "*")
		if _, noted := w.kept(t, path+name)["created"]; noted != c.noted {
			t.Errorf("%s: noted is %v", name, noted)
		}
	}
}

func TestValuesThatAreNotKeptAreMaskedAndSaidToBe(t *testing.T) {
	w := newWorld(t)
	w.deploy(t, "1")
	before := w.want(t, "POST", site+"/functions/hello/listkeys", "", 200, "*")
	if got := before.Header().Get(functions.MaskedHeader); got != "" {
		t.Errorf("masked values where all are kept: %q", got)
	}
	store, c := keys.New(), clock.NewManual(time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC))
	ring, err := keyring.New(keyring.Config{Store: store, Clock: c, HashOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ring.Close)
	w.ring = ring
	rec := w.want(t, "PUT", site+"/functions/hello/keys/once", "", 201, "*")
	var made struct {
		Value      string
		Properties struct{ HashOnly bool }
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &made); err != nil || len(made.Value) != 56 || !made.Properties.HashOnly {
		t.Fatalf("%s, %v", rec.Body, err)
	}
	listed := w.want(t, "POST", site+"/functions/hello/listkeys", "", 200, "*")
	if text := listed.Body.String(); strings.Contains(text, made.Value) || !strings.Contains(text, `"once":"`+made.Value[:4]+`…(56)"`) {
		t.Errorf("listed: %s", text)
	}
	if got := listed.Header().Get(functions.MaskedHeader); got != "2" { // default, too
		t.Errorf("%s: %q", functions.MaskedHeader, got)
	}
	secrets := w.want(t, "POST", site+"/functions/hello/listsecrets", "", 200, "*").Body.String()
	if !strings.Contains(secrets, `"trigger_url":"http://orders.localhost:7071/api/hello/{name?}"`) {
		t.Errorf("an address with a key that opens nothing: %s", secrets)
	}
	host := w.want(t, "POST", site+"/host/default/listkeys", "", 200, "*")
	if got := host.Header().Get(functions.MaskedHeader); got != "1" || !strings.Contains(host.Body.String(), `AzFu`) {
		t.Errorf("%q: %s", got, host.Body) // the master key is kept
	}
	rec = w.want(t, "PUT", site+"/host/default/functionKeys/bound", `{"properties":{"owner":"ann"}}`, 201, "*")
	if err := json.Unmarshal(rec.Body.Bytes(), &made); err != nil || len(made.Value) != 56 || !made.Properties.HashOnly {
		t.Errorf("%s, %v", rec.Body, err)
	}
}

// TestFormerMasterKeysAreOfTheMasterKeyAlone: who may delete other keys cannot end
// them.
func TestFormerMasterKeysAreOfTheMasterKeyAlone(t *testing.T) {
	w := newWorld(t)
	done := tree(t, w.want(t, "POST", site+"/host/default/masterKey/_master/rotate", "", 200, "*").Body.String()).(map[string]any)
	former := done["properties"].(map[string]any)["retired"].(string)
	for _, typ := range []string{"functionKeys", "systemKeys"} {
		w.want(t, "DELETE", site+"/host/default/"+typ+"/"+former, "", 400, "*")
	}
	w.want(t, "DELETE", site+"/host/default/masterKey/"+former, "", 204, "*")
}
