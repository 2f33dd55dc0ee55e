package scan

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/accesskey"
)

var update = flag.Bool("update", false, "write the golden files")

func findings() []Finding {
	return []Finding{
		{File: "src/app settings#1.json", Line: 3, Column: 14, EndColumn: 70, Kind: azfkey.Function, Masked: "dddd…(56)"},
		{File: "/etc/app.env", Line: 1, Column: 1, EndColumn: 57, Kind: azfkey.Master, Masked: "AAEC…(56)",
			Owners: []Owner{{App: "shop", Name: "_master", Kind: accesskey.Master}}},
		{File: "a:b/\x1b[31m.md", Line: 12345678901, Column: 7, EndColumn: 63, Kind: azfkey.Function, Masked: "eeee…(56)",
			Owners: []Owner{
				{App: "shop", Name: "default", Kind: accesskey.Host},
				{App: "shop", Function: "pay", Name: "ci <x>", Kind: accesskey.Function},
			}},
		{File: "s", Line: 1, Column: 1, EndColumn: 57, Kind: azfkey.System, Masked: "ffff…(56)", Owners: []Owner{{App: "shop"}}},
	}
}

var writers = map[string]func(io.Writer, []Finding) error{
	"json":  writeJSON,
	"sarif": func(w io.Writer, f []Finding) error { return writeSARIF(w, "1.2.3", f) },
	"txt":   writeTable,
}

func TestReportsLookAsExpected(t *testing.T) {
	for format, write := range writers {
		for name, list := range map[string][]Finding{"some": findings(), "none": nil} {
			t.Run(name+"."+format, func(t *testing.T) {
				var got bytes.Buffer
				if err := write(&got, list); err != nil {
					t.Fatal(err)
				}
				golden(t, filepath.Join("testdata", name+"."+format), got.Bytes())
			})
		}
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestReportsAreJSON(t *testing.T) {
	for _, format := range []string{"json", "sarif"} {
		for _, list := range [][]Finding{findings(), findings()[:1], nil} {
			var got bytes.Buffer
			if err := writers[format](&got, list); err != nil || !json.Valid(got.Bytes()) {
				t.Errorf("%s of %d findings: %v\n%s", format, len(list), err, got.String())
			}
		}
	}
}

// TestSARIFHasWhatConsumersNeed checks the members that the standard or the
// large code hosts demand.
func TestSARIFHasWhatConsumersNeed(t *testing.T) {
	var out bytes.Buffer
	if err := writeSARIF(&out, "1.2.3", findings()); err != nil {
		t.Fatal(err)
	}
	var log struct {
		Version string
		Schema  string `json:"$schema"`
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name  string
					Rules []struct{ ID string }
				}
			}
			Results []map[string]any
		}
	}
	if err := json.Unmarshal(out.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	if log.Version != "2.1.0" || log.Schema == "" || run.Tool.Driver.Name == "" || run.Tool.Driver.Rules[0].ID != RuleID {
		t.Errorf("%+v", log)
	}
	for _, result := range run.Results {
		if result["ruleId"] != RuleID || result["level"] != "error" || result["message"] == nil || result["locations"] == nil {
			t.Errorf("%v", result)
		}
		for member := range result {
			if strings.Contains(strings.ToLower(member), "fingerprint") || member == "snippet" {
				t.Errorf("result has %s", member)
			}
		}
	}
	if len(run.Results) != len(findings()) {
		t.Errorf("%d results", len(run.Results))
	}
}

func TestTableGoesOnOverPages(t *testing.T) {
	var out strings.Builder
	list := make([]Finding, 2*tablePage+1)
	if err := writeTable(&out, list); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "\n"); got != len(list)+1 || strings.Count(out.String(), "PLACE") != 1 {
		t.Errorf("%d lines", got)
	}
}

func TestReportsPassWriteErrorsOn(t *testing.T) {
	for format, write := range writers {
		if err := write(failing{}, findings()); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// writeJSON writes findings the way [NewJSON] does.
func writeJSON(w io.Writer, findings []Finding) error { return writeAll(NewJSON(w), findings) }

// writeSARIF writes findings the way [NewSARIF] does.
func writeSARIF(w io.Writer, version string, findings []Finding) error {
	return writeAll(NewSARIF(w, version), findings)
}

// writeTable writes findings the way [NewTable] does.
func writeTable(w io.Writer, findings []Finding) error { return writeAll(NewTable(w), findings) }

func writeAll(r Report, findings []Finding) error {
	for _, f := range findings {
		if err := r.Add(f); err != nil {
			return err
		}
	}
	return r.Close()
}
