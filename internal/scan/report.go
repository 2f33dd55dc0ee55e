package scan

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/latchkey/latchkey/internal/accesskey"
)

// Report writes findings as they come. Add errors are those of the writer; after
// the last finding Close completes the output, but leaves the writer open. Not
// safe for concurrent use.
type Report interface {
	Add(Finding) error
	Close() error
}

// row is a finding and one key it opens, if any is known: what both the JSON
// and the table show on a line.
type row struct {
	File     string `json:"file"`
	Line     int64  `json:"line"`
	Column   int64  `json:"column"`
	Kind     string `json:"kind"`
	Masked   string `json:"masked"`
	App      string `json:"app,omitempty"`
	Function string `json:"function,omitempty"`
	Name     string `json:"name,omitempty"`
}

// rows gives one row for each owner, one if there is none. The kind an owner
// says is more exact than what the key itself tells: it sets host function keys
// apart from function keys.
func rows(f Finding) []row {
	plain := row{File: f.File, Line: f.Line, Column: f.Column, Kind: f.Kind.String(), Masked: f.Masked}
	if len(f.Owners) == 0 {
		return []row{plain}
	}
	var all []row
	for _, o := range f.Owners {
		r := plain
		r.App, r.Function, r.Name = o.App, o.Function, o.Name
		if o.Kind != accesskey.None {
			r.Kind = o.Kind.String()
		}
		all = append(all, r)
	}
	return all
}

// NewJSON reports as an array with an object {file, line, column, kind, masked}
// for each finding; with app, function and name where it is known what the key
// opens, and then one object for each key it is.
func NewJSON(w io.Writer) Report { return &jsonReport{list: list{w: w, indent: "  ", open: "["}} }

type jsonReport struct{ list list }

func (j *jsonReport) Add(f Finding) error {
	for _, r := range rows(f) {
		if err := j.list.add(r); err != nil {
			return err
		}
	}
	return nil
}

func (j *jsonReport) Close() error { return j.list.end("]\n") }

// list writes the items of a JSON array as they come.
type list struct {
	w      io.Writer
	open   string // what stands before the first item
	indent string
	items  int
}

func (l *list) add(item any) error {
	raw, err := json.Marshal(item)
	if err != nil {
		return err
	}
	before := ",\n"
	if l.items == 0 {
		before = l.open + "\n"
	}
	l.items++
	_, err = fmt.Fprintf(l.w, "%s%s%s", before, l.indent, raw)
	return err
}

func (l *list) end(closing string) error {
	before := l.open
	if l.items > 0 {
		before = "\n" + strings.TrimSuffix(l.indent, "  ")
	}
	_, err := io.WriteString(l.w, before+closing)
	return err
}

// NewTable reports as a table for people. Columns are aligned within a page of
// some hundred lines, so that the report of a long scan starts early.
func NewTable(w io.Writer) Report {
	return &tableReport{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
}

type tableReport struct {
	w    *tabwriter.Writer
	rows int
}

const tablePage = 500

func (t *tableReport) Add(f Finding) error {
	for _, r := range rows(f) {
		if err := t.line(r); err != nil {
			return err
		}
	}
	return nil
}

func (t *tableReport) line(r row) error {
	if t.rows%tablePage == 0 {
		if err := t.page(); err != nil {
			return err
		}
	}
	t.rows++
	_, err := fmt.Fprintf(t.w, "%s:%d:%d\t%s\t%s\t%s\n", plain(r.File), r.Line, r.Column, r.Kind, r.Masked, opens(r))
	return err
}

// page ends a page, and on the first writes the heading.
func (t *tableReport) page() error {
	if t.rows > 0 {
		return t.w.Flush()
	}
	_, err := io.WriteString(t.w, "PLACE\tKIND\tKEY\tOPENS\n")
	return err
}

func (t *tableReport) Close() error { return t.w.Flush() }

// opens says in words what a key opens.
func opens(r row) string {
	if r.App == "" {
		return "not known here"
	}
	s := "app " + plain(r.App)
	if r.Function != "" {
		s += ", function " + plain(r.Function)
	}
	if r.Name != "" {
		s += ", key " + plain(r.Name)
	}
	return s
}

// plain quotes a name that could move a terminal's cursor or the table's.
func plain(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) || r == '\ufffd' }) {
		return strconv.Quote(name)
	}
	return name
}
