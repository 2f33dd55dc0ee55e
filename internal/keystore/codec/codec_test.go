package codec_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/codec"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/seal/dataprotection"
	"github.com/latchkey/latchkey/internal/seal/keyset"
)

const (
	siteKey  = "AzureWebEncryptionKey=000102030405060708090a0b0c0d0e0f"
	guid     = "00112233-4455-6677-8899-aabbccddeeff"
	newKey   = "AzureWebEncryptionKey_" + guid + "=ff0102030405060708090a0b0c0d0eff"
	choosing = "AzureWebPrimaryEncryptionKey=" + guid
)

func ring(t *testing.T, environ ...string) seal.Sealer {
	t.Helper()
	s, err := dataprotection.FromEnviron(environ)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ownKeyset(t *testing.T) seal.Sealer {
	t.Helper()
	s, err := keyset.Open(t.Context(), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func hostDocument() keystore.Document {
	return keystore.Document{
		Keys: accesskey.Set{
			Master: accesskey.Key{Name: "master", Value: "m<&>é", Extra: map[string][]byte{"note": []byte(`"x"`)}},
			Keys:   []accesskey.Key{{Name: "default", Value: "d"}, {Name: "Second", Value: "s", Extra: map[string][]byte{"latchkey": []byte(`{"a":[1,2]}`)}}},
			System: []accesskey.Key{{Name: "eventgrid_extension", Value: "e"}},
		},
		Extra: map[string][]byte{"future": []byte(`{"b":1.50,"a":[]}`)},
	}
}

func encode(t *testing.T, c *codec.Codec, doc keystore.Doc, d keystore.Document) []byte {
	t.Helper()
	data, _, err := c.Encode(doc, d)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestHostDocumentIsWrittenAsTheHostDoes(t *testing.T) {
	c := codec.New(codec.Config{HostName: "site.azurewebsites.net"})
	want := `{
  "masterKey": {
    "name": "master",
    "value": "m<&>é",
    "encrypted": false,
    "note": "x"
  },
  "functionKeys": [
    {
      "name": "default",
      "value": "d",
      "encrypted": false
    },
    {
      "name": "Second",
      "value": "s",
      "encrypted": false,
      "latchkey": {
        "a": [
          1,
          2
        ]
      }
    }
  ],
  "systemKeys": [
    {
      "name": "eventgrid_extension",
      "value": "e",
      "encrypted": false
    }
  ],
  "hostName": "site.azurewebsites.net",
  "instanceId": null,
  "source": "runtime",
  "decryptionKeyId": "",
  "future": {
    "b": 1.50,
    "a": []
  }
}`
	if diff := cmp.Diff(want, string(encode(t, c, keystore.HostDoc, hostDocument()))); diff != "" {
		t.Error(diff)
	}
}

func TestFunctionDocumentIsWrittenAsTheHostDoes(t *testing.T) {
	c := codec.New(codec.Config{InstanceID: "i1"})
	want := `{
  "keys": [],
  "hostName": null,
  "instanceId": "i1",
  "source": "runtime",
  "decryptionKeyId": ""
}`
	if diff := cmp.Diff(want, string(encode(t, c, "fn", keystore.Document{}))); diff != "" {
		t.Error(diff)
	}
}

func TestDocumentsSurviveTheRoundTripUnderEverySealer(t *testing.T) {
	for name, s := range map[string]seal.Sealer{"none": nil, "data protection": ring(t, siteKey), "keyset": ownKeyset(t)} {
		t.Run(name, func(t *testing.T) {
			c := codec.New(codec.Config{Sealer: s, HostName: "h"})
			data := encode(t, c, keystore.HostDoc, hostDocument())
			got, err := c.Decode(keystore.HostDoc, data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(hostDocument(), got); diff != "" {
				t.Error(diff)
			}
			sealed := s != nil
			if strings.Contains(string(data), "m<&>é") == sealed || strings.Contains(string(data), `"encrypted": true`) != sealed {
				t.Errorf("values in clear under a sealer, or sealed without one:\n%s", data)
			}
			if sealed && !strings.Contains(string(data), `"decryptionKeyId": "`+s.KeyID()+`"`) {
				t.Errorf("key id missing:\n%s", data)
			}
		})
	}
}

func TestReadsWhatHostsHaveWritten(t *testing.T) {
	key := func(name, value string) accesskey.Key { return accesskey.Key{Name: name, Value: value} }
	for name, tc := range map[string]struct {
		doc  keystore.Doc
		text string
		want keystore.Document
	}{
		"version 0 host": {"host", `{"masterKey":"m","functionKey":"f"}`,
			keystore.Document{Keys: accesskey.Set{Master: key("master", "m"), Keys: []accesskey.Key{key("default", "f")}}}},
		"version 0 host, null function key": {"host", `{"masterKey":"m","functionKey":null}`,
			keystore.Document{Keys: accesskey.Set{Master: key("master", "m")}}},
		"version 0 host, no function key": {"host", `{"masterKey":"m"}`,
			keystore.Document{Keys: accesskey.Set{Master: key("master", "m")}}},
		"version 0 function":        {"fn", `{"key":"k"}`, keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{key("default", "k")}}}},
		"version 0 function, null":  {"fn", `{"key":null}`, keystore.Document{}},
		"version 1 function, empty": {"fn", `{"keys":[]}`, keystore.Document{}},
		"byte order mark":           {"fn", "\xef\xbb\xbf" + `{"keys":[]}`, keystore.Document{}},
		"null key beside a list": {"fn", `{"key":null,"keys":[{"name":"a","value":"1"}]}`,
			keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{key("a", "1")}}}},
		"no system keys": {"host", `{"masterKey":{"name":"master","value":"m","encrypted":false},"functionKeys":[]}`,
			keystore.Document{Keys: accesskey.Set{Master: key("master", "m")}}},
		"null system keys": {"host", `{"masterKey":{"name":"x","value":"m"},"functionKeys":[],"systemKeys":null}`,
			keystore.Document{Keys: accesskey.Set{Master: key("master", "m")}}},
		"master without a value": {"host", `{"masterKey":{"name":"master","value":null,"encrypted":true},"functionKeys":[]}`,
			keystore.Document{Keys: accesskey.Set{Master: key("master", "")}}},
		"keys without values": {"fn", `{"keys":[null,{"name":"a"},{"name":"b","value":null},{"name":"c","value":""},{"name":"d","value":"1"}]}`,
			keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{key("d", "1")}}, Ignored: []string{
				`function key "a" without a value`, `function key "b" without a value`, `function key "c" without a value`}}},
		"first of two names counts": {"fn", `{"keys":[{"name":"A","value":"1"},{"name":"a","value":"2"},{"name":"b","value":"3"}]}`,
			keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{key("A", "1"), key("b", "3")}}, Ignored: []string{`function key "a" after one of that name`}}},
		"members given in two cases": {"fn", `{"keys":[{"name":"a","value":"1"}],"Keys":[]}`,
			keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{key("a", "1")}}, Ignored: []string{`all but one of the members ["Keys" "keys"]`}}},
		"member names in other case": {"fn", `{"Keys":[{"Name":"a","VALUE":"1","Encrypted":false}],"HostName":"x"}`,
			keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{key("a", "1")}}}},
		"own members are not extra": {"fn", `{"keys":[],"hostName":"x","instanceId":"y","source":"z","decryptionKeyId":"w","other": {"a" : 1}}`,
			keystore.Document{Extra: map[string][]byte{"other": []byte(`{"a":1}`)}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := codec.New(codec.Config{}).Decode(tc.doc, []byte(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRefusesWhatIsNoKeyDocument(t *testing.T) {
	for name, tc := range map[string]struct {
		doc  keystore.Doc
		text string
	}{
		"empty":                    {"host", ``},
		"null":                     {"host", `null`},
		"array":                    {"fn", `[]`},
		"zeros":                    {"fn", "\x00\x00\x00"},
		"cut off":                  {"fn", `{"keys":[{"name":"a","val`},
		"two documents":            {"fn", `{"keys":[]}{"keys":[]}`},
		"not UTF-8":                {"fn", "{\"keys\":[{\"name\":\"a\",\"value\":\"\xff\"}]}"},
		"no known member":          {"fn", `{}`},
		"host form in a function":  {"fn", `{"masterKey":"m"}`},
		"function form in a host":  {"host", `{"keys":[]}`},
		"master without host keys": {"host", `{"masterKey":{"name":"master","value":"m"}}`},
		"host keys not a list":     {"host", `{"masterKey":{"name":"master","value":"m"},"functionKeys":{}}`},
		"system keys not a list":   {"host", `{"masterKey":{"name":"master","value":"m"},"functionKeys":[],"systemKeys":{}}`},
		"master null":              {"host", `{"masterKey":null,"functionKeys":[]}`},
		"key not an object":        {"fn", `{"keys":["a"]}`},
		"value not a text":         {"fn", `{"keys":[{"name":"a","value":1}]}`},
		"flag not a boolean":       {"fn", `{"keys":[{"name":"a","value":"v","encrypted":"yes"}]}`},
		"value without a name":     {"fn", `{"keys":[{"value":"v"}]}`},
		"sealed but empty":         {"fn", `{"keys":[{"name":"a","value":"","encrypted":true}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := codec.New(codec.Config{}).Decode(tc.doc, []byte(tc.text))
			if !errors.Is(err, keystore.ErrUndecryptable) || !strings.Contains(err.Error(), `"`+string(tc.doc)+`"`) {
				t.Fatalf("got %v, %v", got, err)
			}
		})
	}
}

func TestOneValueThatCannotBeOpenedFailsTheDocument(t *testing.T) {
	c := codec.New(codec.Config{Sealer: ring(t, siteKey)})
	data := encode(t, c, keystore.HostDoc, hostDocument())
	for name, s := range map[string]seal.Sealer{"none": nil, "another key": ring(t, "AzureWebEncryptionKey=00"), "keyset": ownKeyset(t)} {
		d, err := codec.New(codec.Config{Sealer: s}).Decode(keystore.HostDoc, data)
		if !errors.Is(err, keystore.ErrUndecryptable) || problem.NextOf(err) == "" && name != "keyset" {
			t.Fatalf("%s: %v", name, err)
		}
		for _, want := range []string{"master key", `"default"`, `"Second"`, `system key "eventgrid_extension"`} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not name %s", name, err, want)
			}
		}
		if d.Stale {
			t.Errorf("%s: stale beside an error", name)
		}
	}
}

func TestPlainKeysInAnEncryptingDeploymentKeepWorkingAndAreSealedOnWrite(t *testing.T) {
	c := codec.New(codec.Config{Sealer: ring(t, siteKey)})
	d, err := c.Decode("fn", []byte(`{"keys":[{"name":"a","value":"clear","encrypted":false}]}`))
	if err != nil || d.Keys.Keys[0].Value != "clear" || !d.Stale {
		t.Fatalf("%v, %v", d, err)
	}
	if data := encode(t, c, "fn", d); strings.Contains(string(data), "clear") {
		t.Errorf("not sealed: %s", data)
	}
}

const evil = `{"name":"evil","value":"planted","encrypted":false}`

// planted adds a key in clear to the first list of a document.
func planted(data []byte, last bool) []byte {
	if last {
		return []byte(strings.Replace(string(data), "\n  ],", ","+evil+"],", 1))
	}
	return []byte(strings.Replace(string(data), "[", "["+evil+",", 1))
}

func TestAKeyInClearBesideOnesOfTheKeysetIsRefused(t *testing.T) {
	own := ownKeyset(t)
	function := keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{{Name: "a", Value: "v"}}}}
	c := codec.New(codec.Config{Sealer: own})
	for name, tc := range map[string]struct {
		doc  keystore.Doc
		text []byte
		want string
	}{
		"last in the host's":      {"host", planted(encode(t, c, "host", hostDocument()), true), `host key "evil" is in clear`},
		"first in the host's":     {"host", planted(encode(t, c, "host", hostDocument()), false), `host key "evil" is in clear`},
		"last in a function's":    {"fn", planted(encode(t, c, "fn", function), true), `function key "evil" is in clear`},
		"before one it hides":     {"fn", []byte(strings.Replace(string(planted(encode(t, c, "fn", function), false)), "evil", "A", 1)), `function key "A" is in clear`},
		"for the master key":      {"host", withoutSeal(t, encode(t, c, "host", hostDocument())), "the master key is in clear"},
		"with an older form's":    {"fn", planted(encode(t, c, "fn", function), true), `"evil"`},
		"where nothing is sealed": {"fn", planted(encode(t, c, "fn", function), true), `"evil"`},
	} {
		s := own
		switch name {
		case "with an older form's":
			s = seal.Chain{ring(t, siteKey), own}
		case "where nothing is sealed":
			s = seal.Chain{seal.None{}, own}
		}
		d, err := codec.New(codec.Config{Sealer: s}).Decode(tc.doc, tc.text)
		if !errors.Is(err, keystore.ErrUndecryptable) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "beside sealed ones") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.Contains(problem.NextOf(err), "latchkey keys set") || strings.Contains(err.Error(), "planted") || len(d.Keys.Keys) > 0 {
			t.Errorf("%s: %v, next %q", name, d.Keys, problem.NextOf(err))
		}
	}
}

// withoutSeal puts another master key, in clear, in the place of a host document's.
func withoutSeal(t *testing.T, data []byte) []byte {
	t.Helper()
	before, rest, ok := strings.Cut(string(data), `"value": "`)
	_, after, found := strings.Cut(rest, `"encrypted": true`)
	if !ok || !found {
		t.Fatalf("no master key in %s", data)
	}
	return []byte(before + `"value": "planted", "encrypted": false` + after)
}

func TestKeysInClearAreNamedWhereValuesAreSealed(t *testing.T) {
	const host = `{"masterKey":{"name":"master","value":"m"},"functionKeys":[{"name":"a","value":"1"},{"name":"none","value":""}],` +
		`"systemKeys":[{"name":"s","value":"2","encrypted":false}]}`
	all := []string{"the master key", `host key "a"`, `system key "s"`}
	dp := ring(t, siteKey)
	mixed := string(planted(encode(t, codec.New(codec.Config{Sealer: dp}), "host", hostDocument()), true))
	for name, tc := range map[string]struct {
		doc    keystore.Doc
		sealer seal.Sealer
		text   string
		want   []string
	}{
		"all, keyset":               {"host", ownKeyset(t), host, all},
		"all, stock form":           {"host", dp, host, all},
		"all, nothing is sealed":    {"host", nil, host, nil},
		"mixed, stock form":         {"host", dp, mixed, []string{`host key "evil"`}},
		"none, stock form":          {"host", dp, string(encode(t, codec.New(codec.Config{Sealer: dp}), "host", hostDocument())), nil},
		"version 0 of the host's":   {"host", dp, `{"masterKey":"m","functionKey":"f"}`, []string{"the master key", `host key "default"`}},
		"version 0 of a function's": {"fn", dp, `{"key":"k"}`, []string{`function key "default"`}},
	} {
		d, err := codec.New(codec.Config{Sealer: tc.sealer}).Decode(tc.doc, []byte(tc.text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(tc.want, d.InClear); diff != "" || d.Stale != (tc.want != nil) {
			t.Errorf("%s: stale %v, in clear:\n%s", name, d.Stale, diff)
		}
	}
}

// TestTheOwnFormIsKnownByItsPrefix: the codec knows no sealer, only this.
func TestTheOwnFormIsKnownByItsPrefix(t *testing.T) {
	if keyset.Prefix != "lk1." {
		t.Errorf("the prefix is %q now; so it must be in the codec", keyset.Prefix)
	}
}

func TestValuesOfAnOlderKeyAreStaleUntilRewritten(t *testing.T) {
	old := encode(t, codec.New(codec.Config{Sealer: ring(t, siteKey)}), "fn",
		keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{{Name: "a", Value: "v"}}}})
	c := codec.New(codec.Config{Sealer: ring(t, siteKey, newKey, choosing)})
	d, err := c.Decode("fn", old)
	if err != nil || !d.Stale || d.Keys.Keys[0].Value != "v" {
		t.Fatalf("%v, %v", d, err)
	}
	again, err := c.Decode("fn", encode(t, c, "fn", d))
	if err != nil || again.Stale || again.Keys.Keys[0].Value != "v" {
		t.Fatalf("rewritten: %v, %v", again, err)
	}
}

func TestASealedEmptyValueIsDamage(t *testing.T) {
	s := ring(t, siteKey)
	sealed, err := s.Seal("", "")
	if err != nil {
		t.Fatal(err)
	}
	text := `{"keys":[{"name":"a","value":"` + sealed + `","encrypted":true}]}`
	if d, err := codec.New(codec.Config{Sealer: s}).Decode("fn", []byte(text)); !errors.Is(err, keystore.ErrUndecryptable) {
		t.Errorf("%v, %v", d, err)
	}
}

func TestSealedValuesAreBoundToTheirPlace(t *testing.T) {
	c := codec.New(codec.Config{Sealer: ownKeyset(t)})
	data := string(encode(t, c, "fn", keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{{Name: "a", Value: "v"}}}}))
	if _, err := c.Decode("other", []byte(data)); !errors.Is(err, keystore.ErrUndecryptable) {
		t.Errorf("moved to another function: %v", err)
	}
	if _, err := c.Decode("fn", []byte(strings.Replace(data, `"a"`, `"b"`, 1))); !errors.Is(err, keystore.ErrUndecryptable) {
		t.Errorf("moved to another name: %v", err)
	}
	if _, err := c.Decode("fn", []byte(strings.Replace(data, `"a"`, `"A"`, 1))); err != nil {
		t.Errorf("names ignore case: %v", err)
	}
}

func TestRefusesToWriteWhatBreaksARule(t *testing.T) {
	good := hostDocument()
	for name, change := range map[string]func(*keystore.Document){
		"no master":   func(d *keystore.Document) { d.Keys.Master.Value = "" },
		"empty value": func(d *keystore.Document) { d.Keys.Keys = []accesskey.Key{{Name: "a"}} },
		"no name":     func(d *keystore.Document) { d.Keys.System = []accesskey.Key{{Value: "a"}} },
		"two of one name": func(d *keystore.Document) {
			d.Keys.Keys = []accesskey.Key{{Name: "a", Value: "1"}, {Name: "A", Value: "2"}}
		},
		"extra not JSON":   func(d *keystore.Document) { d.Extra = map[string][]byte{"a": []byte("}")} },
		"extra taken":      func(d *keystore.Document) { d.Extra = map[string][]byte{"HostName": []byte("1")} },
		"key extra taken":  func(d *keystore.Document) { d.Keys.Master.Extra = map[string][]byte{"Value": []byte("1")} },
		"key extra broken": func(d *keystore.Document) { d.Keys.Keys[0].Extra = map[string][]byte{"a": nil} },
	} {
		d := good.Clone()
		change(&d)
		if _, _, err := codec.New(codec.Config{}).Encode(keystore.HostDoc, d); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := codec.New(codec.Config{}).Encode("fn", good); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("master key in a function document: %v", err)
	}
}

// What can be read can be written, unless a rule forbids it, and then reads the same.
func FuzzDecode(f *testing.F) {
	c := codec.New(codec.Config{})
	for _, seed := range []string{
		`{"masterKey":"m","functionKey":"f"}`, `{"key":"k"}`, `{"key":null}`, `{"keys":[{"name":"a","value":"v","encrypted":false,"x":1}],"y":[{}]}`,
		`{"masterKey":{"name":"master","value":"m","encrypted":true},"functionKeys":[],"systemKeys":[{"name":"s","value":"v"}]}`,
		`{"keys":[`, "\xef\xbb\xbf{}", `{"Keys":[],"keys":[]}`,
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, data string, host bool) {
		doc := keystore.Doc("fn")
		if host {
			doc = keystore.HostDoc
		}
		d, err := c.Decode(doc, []byte(data))
		if err != nil {
			if !errors.Is(err, keystore.ErrUndecryptable) {
				t.Fatal(err)
			}
			return
		}
		out, stored, err := c.Encode(doc, d)
		if errors.Is(err, keystore.ErrInvalid) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.Decode(doc, out)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if diff := cmp.Diff(stored, again); diff != "" {
			t.Error(diff)
		}
	})
}
