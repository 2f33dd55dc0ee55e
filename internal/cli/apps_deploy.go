package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/cli/pack"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server"
)

// deployFlags are the flags of app deploy.
type deployFlags struct {
	noWait  bool
	message string
}

// deployView is a deployment as it is shown. Its JSON form is a contract.
type deployView struct {
	App       string                `json:"app"`
	Release   string                `json:"release"`
	Active    bool                  `json:"active"` // false with --no-wait
	Faults    []string              `json:"faults,omitempty"`
	Errors    []string              `json:"errors,omitempty"` // why the app does not run
	Functions []server.FunctionInfo `json:"functions"`
}

func newAppDeploy(env *Env) *cobra.Command {
	s, f := newSession(env), deployFlags{}
	c := &cobra.Command{
		Use:   "deploy NAME DIR|ZIP",
		Short: "Deploy a folder or a zip to an app",
		Long: "Packs a folder, sends it and waits until the app runs it; the release before it serves\n" +
			"until then. Left out are .git, .latchkey, local.settings.json and what .funcignore names,\n" +
			"in the syntax of .gitignore. The handler must be built already. A folder with symbolic\n" +
			"links is refused.",
		Example: "  latchkey app deploy orders ./orders\n  latchkey app deploy orders orders.zip --no-wait --output json",
		Args:    cobra.ExactArgs(2),
		RunE:    func(cmd *cobra.Command, args []string) error { return deploy(cmd.Context(), s, f, args[0], args[1]) },
	}
	s.addTo(c)
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "do not wait until the app runs it")
	c.Flags().StringVarP(&f.message, "message", "m", "", "what to note with the release")
	return c
}

func deploy(ctx context.Context, s *session, f deployFlags, name, source string) error {
	in, a, err := s.openApp(ctx, name)
	if err != nil {
		return err
	}
	p := newProgress(s.env)
	id, err := send(ctx, in, a, source, f.message, p)
	if err != nil {
		return err
	}
	if f.noWait {
		return s.deployed(deployView{App: a.Name, Release: id, Functions: []server.FunctionInfo{}}, "sent as release")
	}
	a, err = in.Await(ctx, clock.Real{}, a, id, func(stage manage.Stage) { p.line(string(stage)) })
	p.end()
	if ctx.Err() != nil {
		fmt.Fprintf(s.env.Stderr, "the deployment goes on without this command; latchkey app releases %s tells how it ends\n", printable(a.Name))
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	return s.finishDeploy(ctx, in, a, id)
}

// send packs and uploads, and gives the release's id.
func send(ctx context.Context, in *manage.Installation, a manage.App, source, message string, p *progress) (string, error) {
	defer p.end()
	pkg, err := pack.Open(ctx, source, func(at pack.Progress) {
		p.update(fmt.Sprintf("packing     %s, %s", countOf(at.Files, "file"), size(at.Bytes)))
	})
	if err != nil {
		return "", err
	}
	defer pkg.Close()
	p.line(fmt.Sprintf("packed      %s, %s", countOf(pkg.Files, "file"), size(pkg.Size)))
	body := &counted{r: pkg, tell: func(n int64) { p.update(fmt.Sprintf("uploading   %s of %s", size(n), size(pkg.Size))) }}
	id, err := in.Upload(ctx, a, body, pkg.Size, message)
	if err == nil {
		p.line("uploaded    " + size(pkg.Size))
	}
	return id, err
}

// finishDeploy shows what runs now. An app that does not come to run is an error,
// although it is deployed.
func (s *session) finishDeploy(ctx context.Context, in *manage.Installation, a manage.App, id string) error {
	if a.Release != id {
		return problem.New(problem.Conflict, "somebody else deployed to "+a.Name+" after this: release "+a.Release).
			WithNext("latchkey app releases " + a.Name + " lists all of them")
	}
	rel, err := in.Release(ctx, a, id)
	if err != nil {
		return err
	}
	v := deployView{App: a.Name, Release: id, Active: true, Faults: rel.Faults}
	if v.Functions, err = in.Functions(ctx, a); err != nil {
		return err
	}
	for _, node := range a.Instances {
		for _, e := range node.Errors {
			v.Errors = append(v.Errors, node.Node+": "+e)
		}
	}
	if err := s.deployed(v, "runs release"); err != nil {
		return err
	}
	return v.failure(a)
}

// failure is the error of a release that is deployed and is not what was meant:
// builds must not go on as if it were.
func (v deployView) failure(a manage.App) error {
	next := "correct the app and deploy again, or go back with latchkey app rollback " + a.Name
	for _, node := range a.Instances {
		if node.State == "Error" {
			return problem.New(problem.Unavailable, "the release is deployed, but the app does not run: "+strings.Join(v.Errors, "; ")).WithNext(next)
		}
	}
	if len(v.Faults) > 0 {
		return problem.New(problem.Invalid, "the release is deployed, but what is faulty in it does not run: "+countOf(len(v.Faults), "fault")).WithNext(next)
	}
	return nil
}

func (s *session) deployed(v deployView, what string) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, v)
	}
	for _, fault := range v.Faults {
		fmt.Fprintln(s.env.Stderr, "fault: "+printable(fault))
	}
	if _, err := fmt.Fprintf(s.env.Stdout, "%s %s %s\n", printable(v.App), what, printable(v.Release)); err != nil || !v.Active {
		return err
	}
	if len(v.Functions) == 0 {
		fmt.Fprintln(s.env.Stderr, "it has no functions")
		return nil
	}
	fmt.Fprintln(s.env.Stdout)
	return functionTable(s.env, v.Functions, false)
}

// progress tells a person how far something has come: a line for each step, and
// on a terminal within it. All of it goes to standard error.
type progress struct {
	w    io.Writer
	live bool
	last time.Time
	open bool // the line on the screen is not ended
}

func newProgress(env *Env) *progress { return &progress{w: env.Stderr, live: env.Terminal} }

// updateEvery keeps a fast step from writing more than anybody can read.
const updateEvery = 100 * time.Millisecond

// update replaces the line in progress.
func (p *progress) update(text string) {
	if !p.live || time.Since(p.last) < updateEvery {
		return
	}
	p.last, p.open = time.Now(), true
	fmt.Fprintf(p.w, "\r\x1b[K%s", text)
}

// line ends a step.
func (p *progress) line(text string) {
	if p.open {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	p.open = false
	fmt.Fprintln(p.w, text)
}

// end leaves the screen so that something else can be written.
func (p *progress) end() {
	if p.open {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	p.open = false
}

// counted is a reader that tells how much was read.
type counted struct {
	r    io.Reader
	n    int64
	tell func(int64)
}

// Read implements io.Reader.
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	c.tell(c.n)
	return n, err
}

// size puts a number of bytes into words.
func size(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

func newAppReleases(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use:     "releases NAME",
		Short:   "List the releases of an app, the newest first",
		Example: "  latchkey app releases orders",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, a, err := s.openApp(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			list, err := in.Releases(cmd.Context(), a)
			if err != nil {
				return err
			}
			return s.printReleases(list)
		},
	}
	s.addTo(c)
	return c
}

func (s *session) printReleases(list []manage.Release) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, list)
	}
	rows := make([][]string, len(list))
	for n, r := range list {
		active := "-"
		if r.Active {
			active = "active"
		}
		rows[n] = []string{r.ID, r.Status, active, size(r.Size), dash(strings.Join(r.Functions, ",")), dash(strings.Join(append(r.Errors, r.Message), " "))}
	}
	return writeTable(s.env.Stdout, "RELEASE STATUS ACTIVE SIZE FUNCTIONS NOTE", rows)
}

func newAppRollback(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use:   "rollback NAME [RELEASE]",
		Short: "Go back to an earlier release of an app",
		Long: "Makes another release the active one: the one named, forward too, or the newest before\n" +
			"the active one. Settings and keys stay as they are.",
		Example: "  latchkey app rollback orders\n  latchkey app rollback orders 20261121-233611.123-0a1b2c3d",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return rollback(cmd.Context(), s, args[0], strings.Join(args[1:], ""))
		},
	}
	s.addTo(c)
	return c
}

func rollback(ctx context.Context, s *session, name, id string) error {
	in, a, err := s.openApp(ctx, name)
	if err != nil {
		return err
	}
	rel, err := in.Rollback(ctx, a, id)
	if err != nil {
		return err
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, rel)
	}
	_, err = fmt.Fprintf(s.env.Stdout, "%s goes back to release %s\n", printable(a.Name), printable(rel.ID))
	return err
}
