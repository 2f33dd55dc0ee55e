package funcapp

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func jsonNumber(s string) json.Number { return json.Number(s) }

func TestTimeSpans(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"00:00:00": 0, "00:05:00": 5 * time.Minute, "1:2": time.Hour + 2*time.Minute, "23:59:59": day - time.Second,
		"10.00:00:00": 10 * day, "1.02:03:04.5": day + 2*time.Hour + 3*time.Minute + 4*time.Second + 500*time.Millisecond,
		"00:00:00.0000001": 100, " 00:00:01 ": time.Second, "-00:00:01": -time.Second, "7": 7 * day, "106751.00:00:00": 106751 * day,
	} {
		if got, err := ParseTimeSpan(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-", "x", "24:00:00", "00:60:00", "00:00:60", "1:2:3:4", ":", "::", ".1:2:3", "1.", "1.5", "00:00:00.", "00:00:00.12345678",
		"--1", "+1", "106752.00:00:00", "99999999", "1.1.00:00:00", "0x1", "1e3", "00:00:1.5.5", "٣"} {
		if got, err := ParseTimeSpan(text); err == nil {
			t.Errorf("%q gives %v", text, got)
		}
	}
}

func TestCommentsAndTrailingCommasKeepPlaces(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":1,}`:                `{"a":1 }`,
		"[1, // x,\n 2,\n]":       "[1,      \n 2 \n]",
		`{"u":"http://x/*y*/,}"}`: `{"u":"http://x/*y*/,}"}`,
		`{"q":"\"//"/* c */}`:     `{"q":"\"//"       }`,
		"[1,/*\n*/]":              "[1   \n  ]",
		`[,]`:                     `[,]`,
		`[1,,]`:                   `[1,,]`,
		`{,}`:                     `{,}`,
		`/**/[]//`:                `    []  `,
	} {
		if got := string(blankExtras([]byte(in))); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

func TestMembersGivenTwiceAreReportedAndTheFirstCounts(t *testing.T) {
	doc, issues := parseDocument([]byte("{\"a\": 1,\n\"A\": 2}"), namesFold)
	if len(issues) != 1 || issues[0].line != 2 || doc.root.get("a").text != "1" {
		t.Errorf("issues %v", issues)
	}
	if _, issues = parseDocument([]byte(`{"a": 1, "A": 2}`), namesExact); len(issues) != 0 {
		t.Errorf("issues %v", issues)
	}
}

func local(t *testing.T, text string) (*LocalSettings, string) {
	t.Helper()
	s, faults := LoadLocalSettings(appDir(t, map[string]string{localSettingsFile: text}))
	return s, show(faults)
}

func TestLocalSettings(t *testing.T) {
	s, faults := local(t, `{
		"IsEncrypted": false,
		"values": { "A": "1", "N": 5, "B": true, "Null": null, "": "x", "a": "lower" }, // a comment
		"ConnectionStrings": { "Db": "Server=x", "Old": { "ConnectionString": "Server=y", "ProviderName": "sql" } },
		"Host": { "LocalHttpPort": "7080", "LocalHttpAddress": "127.0.0.1", "CORS": "https://a, https://b,", "CORSCredentials": true },
	}`)
	want := &LocalSettings{
		Values:            map[string]string{"A": "1", "N": "5", "B": "true", "a": "lower"},
		ConnectionStrings: map[string]string{"Db": "Server=x", "Old": "Server=y"},
		Port:              7080, Address: "127.0.0.1", CORS: []string{"https://a", "https://b"}, CORSCredentials: true,
	}
	if diff := cmp.Diff(want, s); diff != "" || faults != "" {
		t.Error(diff, faults)
	}
}

func TestLocalSettingsWithoutIsEncryptedAreReadAndNoted(t *testing.T) {
	s, faults := local(t, `{"Values": {"A": "1"}}`)
	if faults != "" || s.Values["A"] != "1" || len(s.Notes) != 1 {
		t.Errorf("%+v, faults %q", s, faults)
	}
	if s, faults := LoadLocalSettings(t.TempDir()); len(faults) > 0 || s == nil || len(s.Notes) > 0 {
		t.Errorf("without a file: %+v, %v", s, faults)
	}
}

func TestLocalSettingsFaultsNameTheLineAndNoValue(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"encrypted", "{\n\"IsEncrypted\": true, \"Values\": {\"A\": \"secret\"}}", ":2: [] the values are encrypted"},
		{"syntax", "{\n\"Values\": {\"A\": \"1\" secret}}", ":2: [] is not valid JSON ->"},
		{"nested", "{\"Values\":\n{\"A\": {\"secret\": 1}}}", `:2: [] Values must hold texts, "A"`},
		{"list", `{"Values": ["secret"]}`, ":1: [] Values must be an object"},
		{"no connection string", `{"ConnectionStrings": {"A": {"x": "secret"}}}`, "A\" has no ConnectionString"},
		{"odd name", `{"Values": {"A=B": "secret"}}`, "cannot be an environment variable"},
		{"port", `{"Host": {"LocalHttpPort": 70000}}`, "from 0 to 65535"},
		{"twice", `{"Values": {"A": "secret", "A": "2"}}`, `member "A" is given twice`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, faults := local(t, tt.text)
			if !strings.Contains(faults, localSettingsFile) || !strings.Contains(faults, tt.want) || strings.Contains(faults, "secret") {
				t.Errorf("faults %q, want %q", faults, tt.want)
			}
			if tt.name == "encrypted" && s.Values != nil {
				t.Error("encrypted values were taken")
			}
		})
	}
}

func TestTheEnvironmentWinsOverLocalSettings(t *testing.T) {
	env, warnings := MergeEnv([]string{"A=env", "EMPTY=", "=C:=x", "bad", "X__Y=env"}, &LocalSettings{
		Values:            map[string]string{"A": "file", "B": "file", "EMPTY": "file", "x:y": "file"},
		ConnectionStrings: map[string]string{"Db": "cs"},
		Notes:             []string{"a note"},
	})
	want := map[string]string{"A": "env", "B": "file", "EMPTY": "", "X__Y": "env", "ConnectionStrings:Db": "cs"}
	if diff := cmp.Diff(want, env); diff != "" {
		t.Error(diff)
	}
	if got := strings.Join(warnings, "|"); !strings.HasPrefix(got, "a note|") || len(warnings) != 4 || strings.Contains(got, "file ") {
		t.Errorf("warnings %q", warnings)
	}
	if env, warnings := MergeEnv([]string{"A=1=2"}, nil); env["A"] != "1=2" || warnings != nil {
		t.Error(env, warnings)
	}
}

func FuzzTimeSpan(f *testing.F) {
	for _, s := range []string{"00:05:00", "1.02:03:04.5", "-7", "24:00:00", "."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseTimeSpan(s)
		if err != nil || d < 0 || d == math.MinInt64 {
			return
		}
		day := 24 * time.Hour
		again := fmt.Sprintf("%d.%02d:%02d:%02d.%07d", d/day, d%day/time.Hour, d%time.Hour/time.Minute, d%time.Minute/time.Second, d%time.Second/100)
		if back, err := ParseTimeSpan(again); err != nil || back != d {
			t.Fatalf("%q is %v, written %q is %v, %v", s, d, again, back, err)
		}
	})
}

// checkFaults holds every fault to the rules of messages.
func checkFaults(t *testing.T, faults []Fault) {
	t.Helper()
	for _, f := range faults {
		if f.Message == "" || strings.HasSuffix(f.Message, ".") || f.Line < 0 || strings.ContainsAny(f.Message+f.File, "\x00\n\x1b") {
			t.Fatalf("fault %+v", f)
		}
	}
}

func FuzzHostJSON(f *testing.F) {
	for _, path := range []string{"testdata/good/host.json", "testdata/broken/host.json"} {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data), "AzureFunctionsJobHost__functions__0", "x")
	}
	f.Add(plainHost, "AzureFunctionsJobHost__a__b__c", "1")
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, text, name, value string) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		if err := os.WriteFile(filepath.Join(dir, hostFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		app := load(t, dir, Env{name: value})
		checkFaults(t, app.Faults)
		if app.Host.Raw != nil && !json.Valid(app.Host.Raw) {
			t.Fatalf("raw is no JSON: %q", app.Host.Raw)
		}
		if len(app.Faults) == 0 && (app.Host.FunctionTimeout < 0 || app.Host.HTTP.MaxOutstandingRequests == 0) {
			t.Fatalf("%+v", app.Host)
		}
	})
}

func FuzzFunctionJSON(f *testing.F) {
	for _, path := range []string{"good/Hello", "good/orders", "good/Queue", "broken/Members", "broken/Retry", "broken/TwoTriggers"} {
		data, err := os.ReadFile("testdata/" + path + "/" + functionFile)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		if err := os.WriteFile(filepath.Join(dir, functionFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l := &loader{app: &App{Root: root}, realRoot: root, settings: newSettings(Env{"A": "1"})}
		l.app.Host.CustomHandler = &CustomHandler{}
		fn := l.function(dir, "name")
		checkFaults(t, fn.Faults)
		if len(fn.Faults) == 0 && fn.Trigger() == nil {
			t.Fatal("no trigger and no fault")
		}
		if _, err := json.Marshal(fn); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzLocalSettings(f *testing.F) {
	f.Add(`{"IsEncrypted": false, "Values": {"A": "1"}, "ConnectionStrings": {"D": {"ConnectionString": "x"}}, "Host": {"CORS": "*"}}`)
	f.Add(`{"Values": {"A": null,}, /* c */}`)
	f.Fuzz(func(t *testing.T, text string) {
		var faults []Fault
		s := &LocalSettings{}
		s.parse(reporter{file: localSettingsFile, list: &faults}, []byte(text))
		checkFaults(t, faults)
		for name := range s.Values {
			if name == "" || strings.ContainsAny(name, "=\x00") {
				t.Fatalf("setting %q", name)
			}
		}
	})
}
