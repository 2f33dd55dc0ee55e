package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

func newAudit(env *Env) *cobra.Command {
	return newGroup("audit", "Read and check the record of what was done and refused",
		newAuditTail(env), newAuditVerify(env), newAuditExport(env))
}

// tailFlags are the flags of audit tail.
type tailFlags struct {
	follow, denied          bool
	since, principal, scope string
	lines                   int
}

func newAuditTail(env *Env) *cobra.Command {
	s, f := newSession(env), tailFlags{}
	c := &cobra.Command{
		Use:     "tail",
		Short:   "Show the latest events",
		Example: "  latchkey audit tail\n  latchkey audit tail --follow --denied\n  latchkey audit tail --since 24h --principal ci --output json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return tail(cmd.Context(), s, f) },
	}
	s.addTo(c)
	fl := c.Flags()
	fl.BoolVar(&f.follow, "follow", false, "go on with events as they happen")
	fl.IntVarP(&f.lines, "lines", "n", 50, "show so many; 0 is all")
	fl.StringVar(&f.since, "since", "", "from then on: a time such as 2026-01-31T12:00:00Z, or how long ago, such as 30m or 24h")
	fl.BoolVar(&f.denied, "denied", false, "only refusals")
	fl.StringVar(&f.principal, "principal", "", "only what this principal did: name, client id or object id")
	fl.StringVar(&f.scope, "scope", "", "only what is about this scope: subscription, group/NAME, app/NAME, vault/NAME or a resource id")
	return c
}

func tail(ctx context.Context, s *session, f tailFlags) error {
	since, err := sinceTime(f.since, time.Now())
	if err != nil {
		return err
	}
	if f.lines < 0 {
		return usageError{errors.New("--lines must not be negative")}
	}
	in, err := s.open(ctx)
	if err != nil {
		return err
	}
	want, err := f.events(ctx, in, since)
	if err != nil {
		return err
	}
	list, err := in.Events(ctx, want)
	if err != nil {
		return err
	}
	if !f.follow {
		return s.printEvents(list)
	}
	show := func(list []audit.Entry) error { return s.streamEvents(list) }
	if err := show(list); err != nil {
		return err
	}
	last := audit.Entry{}
	if len(list) > 0 {
		last = list[len(list)-1]
	}
	return in.FollowEvents(ctx, clock.Real{}, want, last, show)
}

// events resolves who and where.
func (f tailFlags) events(ctx context.Context, in *manage.Installation, since time.Time) (manage.Events, error) {
	want := manage.Events{Since: since, Denied: f.denied, Principal: f.principal, Most: f.lines}
	if f.principal != "" {
		p, err := in.Principal(ctx, f.principal)
		switch {
		case err == nil:
			want.Principal = p.ObjectID
		case !errors.Is(err, problem.NotFound) || len(f.principal) != len("00000000-0000-0000-0000-000000000000"):
			return want, err // an id can be that of a principal that is gone
		}
	}
	var err error
	if f.scope != "" && f.scope != "/" {
		want.Scope, err = scopeOf(ctx, in, f.scope)
	}
	return want, err
}

// sinceTime reads a time, or how long before now.
func sinceTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usageError{problem.New(problem.Invalid, "--since is neither a time nor a duration").WithNext("use 2026-01-31T12:00:00Z (UTC unless it has a zone), or 30m, 24h")}
}

func (s *session) printEvents(list []audit.Entry) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, list)
	}
	return s.streamEvents(list)
}

// streamEvents shows events one per line, as JSON too: what follows is not known
// yet.
func (s *session) streamEvents(list []audit.Entry) error {
	var b bytes.Buffer
	for _, e := range list {
		if !s.out.is(formJSON) {
			b.WriteString(eventLine(e) + "\n")
			continue
		}
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		b.WriteString(visibleJSON(string(text)) + "\n")
	}
	_, err := b.WriteTo(s.env.Stdout)
	return err
}

func eventLine(e audit.Entry) string {
	who := first(e.Principal.Name, e.Principal.ObjectID, e.Principal.AppID, "-")
	parts := []string{e.Time.UTC().Format("2006-01-02T15:04:05Z"), fmt.Sprintf("%-10s", e.Category), e.Action, first(e.Outcome, "-"), "by " + who}
	if e.Source != "" {
		parts = append(parts, "from "+e.Source)
	}
	if e.Scope != "" {
		parts = append(parts, "at "+e.Scope)
	}
	if e.Reason != "" {
		parts = append(parts, "("+e.Reason+")")
	}
	if e.Count > 1 {
		parts = append(parts, "×"+strconv.Itoa(e.Count))
	}
	return printable(strings.Join(parts, "  "))
}

func newAuditVerify(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Check that no event was changed, removed or moved",
		Long: "Checks the chain of hashes that the events make: in the installation, or in a file of\n" +
			"audit export, for which no server is needed. Exit code 1 if something is wrong. Note the\n" +
			"head it shows elsewhere: whoever can rewrite the whole record cannot rewrite that.",
		Example: "  latchkey audit verify\n  latchkey audit verify audit.jsonl",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return verifyAudit(cmd.Context(), s, strings.Join(args, ""))
		},
	}
	s.addTo(c)
	return c
}

func verifyAudit(ctx context.Context, s *session, file string) error {
	report, err := auditReport(ctx, s, file)
	if err != nil {
		return err
	}
	return showReport(s, report)
}

// showReport prints a report; a chain that is not intact is a failure.
func showReport(s *session, report audit.Report) (err error) {
	if s.out.is(formJSON) {
		err = writeJSON(s.env.Stdout, report)
	} else {
		err = printReport(s.env.Stdout, report)
	}
	if err == nil && !report.Intact {
		return quietError{exitFailed}
	}
	return err
}

func auditReport(ctx context.Context, s *session, file string) (audit.Report, error) {
	if file == "" {
		in, err := s.open(ctx)
		if err != nil {
			return audit.Report{}, err
		}
		return in.VerifyAudit(ctx)
	}
	f, err := os.Open(file)
	if err != nil {
		return audit.Report{}, problem.Wrap(problem.NotFound, "the export cannot be read", err)
	}
	defer f.Close()
	return audit.VerifyExport(f)
}

func printReport(w io.Writer, r audit.Report) error {
	state := "intact"
	if !r.Intact {
		state = "NOT intact"
	}
	facts := [][2]string{{"record", state + ", " + countOf(int(r.Events), "event")}, {"head", fmt.Sprintf("%d %s", r.Head.Sequence, r.Head.Hash)}}
	for _, fault := range manage.Faults(r) {
		facts = append(facts, [2]string{"fault", fault})
	}
	if r.More {
		facts = append(facts, [2]string{"fault", "and more"})
	}
	return writeFacts(w, facts)
}

func newAuditExport(env *Env) *cobra.Command {
	s := newSession(env)
	var force bool
	c := &cobra.Command{
		Use:   "export FILE",
		Short: "Write the whole record to a file that can be checked later",
		Long: "Writes every event as a line of JSON, in the form whose hash the next one has, and checks\n" +
			"the file. What is exported is kept even if the record is not intact: it is evidence.",
		Example: "  latchkey audit export audit.jsonl",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return exportAudit(cmd.Context(), s, force, args[0]) },
	}
	s.addTo(c)
	c.Flags().BoolVar(&force, "force", false, "replace FILE if it is there")
	return c
}

func exportAudit(ctx context.Context, s *session, force bool, path string) error {
	if err := checkNew(path, force); err != nil {
		return err
	}
	in, err := s.open(ctx)
	if err != nil {
		return err
	}
	var report audit.Report
	err = writeNew(path, force, func(f *os.File) error {
		if err := in.ExportAudit(ctx, f); err != nil {
			return err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		var err error
		report, err = audit.VerifyExport(f)
		return err
	})
	if err != nil {
		return err
	}
	return showReport(s, report)
}
