package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trust"
)

func shellChoice() *choice { return &choice{trust.Shells[0], trust.Shells[:]} }

// showTrust is trust show, and trust alone.
type showTrust struct {
	trustFlags
	shell, output *choice
}

func newTrustShow(env *Env) *cobra.Command {
	var f showTrust
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show what this machine has of the installation, and what is missing",
		Example: "  latchkey trust show\n  latchkey trust show --shell fish\n  latchkey trust show --output json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env) },
	}
	f.addTo(c)
	return c
}

func (f *showTrust) addTo(c *cobra.Command) {
	f.trustFlags.addTo(c)
	f.addAddressTo(c)
	f.shell, f.output = shellChoice(), tableOrJSON()
	f.shell.addAs(c, "shell", "form of the environment's lines")
	f.output.addTo(c)
}

// trustView is what trust show prints in JSON.
type trustView struct {
	Authority   authorityView     `json:"authority"`
	Hosts       hostsView         `json:"hosts"`
	Environment map[string]string `json:"environment"`
	note        string            // why the apps are not known
	lines       []trust.Variable
}

type authorityView struct {
	File        string    `json:"file"`
	Fingerprint string    `json:"fingerprint"` // SHA-256
	Expires     time.Time `json:"expires"`
	Domains     []string  `json:"domains"`
	Constrained bool      `json:"constrained"` // to the domains and loopback addresses
	Store       string    `json:"store"`
	StoreFile   string    `json:"storeFile,omitempty"`
}

type hostsView struct {
	File      string   `json:"file"`
	Entries   []string `json:"entries"`   // between the marks
	Missing   []string `json:"missing"`   // apps need them
	Elsewhere []string `json:"elsewhere"` // names that the file has with another address
	AppsKnown bool     `json:"appsKnown"` // if not, nobody can tell what is missing
}

func (f *showTrust) run(ctx context.Context, env *Env) error {
	i, err := f.find(env)
	if err != nil {
		return err
	}
	v, err := f.view(ctx, env, i)
	if err != nil {
		return err
	}
	if f.output.is(formJSON) {
		if v.note != "" {
			fmt.Fprintln(env.Stderr, "note: "+v.note)
		}
		return writeJSON(env.Stdout, v)
	}
	return v.write(env.Stdout, f.shell.value, i.asRoot("install"))
}

func (f *showTrust) view(ctx context.Context, env *Env, i installation) (v trustView, err error) {
	wanted, unknown := f.wanted(ctx, i)
	if unknown != nil {
		v.note = printable(unknown.Error())
	}
	m := env.machine()
	s, err := m.Status(i.authority, wanted)
	if err != nil {
		return v, err
	}
	a := i.authority
	v.Authority = authorityView{
		File: a.File, Fingerprint: a.Fingerprint(), Expires: a.Cert.NotAfter.UTC(), Domains: a.Domains(), Constrained: a.Constrained(),
		Store: string(s.Store), StoreFile: s.StoreFile,
	}
	v.Hosts = hostsView{
		File: m.Hosts, Entries: entryLines(s.Block), Missing: entryLines(s.Missing),
		Elsewhere: append([]string{}, s.Elsewhere...), AppsKnown: unknown == nil,
	}
	v.Environment, v.lines = map[string]string{}, i.environment(false).Variables()
	for _, line := range v.lines {
		v.Environment[line.Name] = line.Value
	}
	return v, nil
}

func entryLines(entries []trust.Entry) []string {
	lines := make([]string, len(entries))
	for i, e := range entries {
		lines[i] = e.String()
	}
	return lines
}

func (v trustView) write(w io.Writer, shell, next string) error {
	a := v.Authority
	limits := "any host: this is no authority of latchkey up"
	if a.Constrained {
		limits = strings.Join(a.Domains, ", ") + ", names below, and loopback addresses; no other host"
	}
	fmt.Fprintf(w, "Certificate authority\n  file         %s\n  fingerprint  SHA-256 %s\n  expires      %s\n  good for     %s\n  system store %s\n",
		printable(a.File), a.Fingerprint, a.Expires.Format(time.DateOnly), printable(limits), a.Store)
	fmt.Fprintf(w, "\nHost entries in %s\n", printable(v.Hosts.File))
	for _, line := range v.Hosts.Entries {
		fmt.Fprintln(w, "  there      "+printable(line))
	}
	for _, line := range v.Hosts.Missing {
		fmt.Fprintln(w, "  missing    "+printable(line))
	}
	for _, line := range v.Hosts.Elsewhere {
		fmt.Fprintln(w, "  elsewhere  "+printable(line))
	}
	if v.note != "" {
		fmt.Fprintln(w, "  apps are not known: "+v.note)
	} else if len(v.Hosts.Entries)+len(v.Hosts.Missing) == 0 {
		fmt.Fprintln(w, "  none, and no app needs one")
	}
	fmt.Fprintf(w, "\nEnvironment (%s)\n", shell)
	for _, line := range v.lines {
		text, err := line.Assignment(shell)
		if err != nil {
			return err
		}
		fmt.Fprintln(w, "  "+printable(text))
	}
	if a.Store != string(trust.Installed) || len(v.Hosts.Missing) > 0 {
		fmt.Fprintf(w, "\nNext: %s\n", printable(next))
	}
	return nil
}

func newTrustEnv(env *Env) *cobra.Command {
	var f trustFlags
	shell, credentials := shellChoice(), false
	c := &cobra.Command{
		Use:   "env",
		Short: "Print the environment of clients, as lines for a shell",
		Long: "Prints lines that set what client libraries and tools need to trust and find the\n" +
			"installation. There is no secret among them, unless --with-credentials is given.",
		Example: "  eval \"$(latchkey trust env)\"\n  latchkey trust env --shell fish | source\n  eval \"$(latchkey trust env --with-credentials)\" && terraform apply",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return printVariables(env, f, shell.value, credentials)
		},
	}
	f.addTo(c)
	shell.addAs(c, "shell", "form of the lines")
	c.Flags().BoolVar(&credentials, "with-credentials", false, "print the owner's client id and secret too")
	return c
}

func printVariables(env *Env, f trustFlags, shell string, credentials bool) error {
	i, err := f.find(env)
	if err != nil {
		return err
	}
	switch {
	case credentials && i.credential.ClientSecret == "":
		return problem.New(problem.NotFound, "this user has no credential of the installation in "+i.dataDir).
			WithNext("run this as the user who runs latchkey up; if the file was lost, latchkey up --new-owner-credential makes another")
	case credentials:
		fmt.Fprintln(env.Stderr, "warning: the lines hold the owner's secret, and so will every program started from that shell")
	case i.credential.Endpoint == "":
		fmt.Fprintln(env.Stderr, "note: this user cannot read owner.json, so endpoint, tenant and subscription are left out")
	}
	var out strings.Builder
	for _, v := range i.environment(credentials).Variables() {
		line, err := v.Assignment(shell)
		if err != nil {
			return err
		}
		out.WriteString(line + "\n")
	}
	_, err = io.WriteString(env.Stdout, out.String())
	return err
}
