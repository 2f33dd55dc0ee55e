package cli

import (
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
	"golang.org/x/term"

	"github.com/latchkey/latchkey/internal/cli/containerapps"
	"github.com/latchkey/latchkey/internal/problem"
)

// placeFlags say which container of an app is meant.
type placeFlags struct{ revision, replica, container string }

func (p *placeFlags) addTo(c *cobra.Command) {
	addRevision(c, &p.revision, "the revision (default: the newest that is ready)")
	c.Flags().StringVar(&p.replica, "replica", "", "the replica (default: the first)")
	c.Flags().StringVar(&p.container, "container", "", "the container (default: the first)")
}

func newContainerLogs(env *Env) *cobra.Command {
	return newGroup("logs", "Read what containers write", newContainerLogsShow(env))
}

func newContainerLogsShow(env *Env) *cobra.Command {
	f, p, o := newContainerFlags(env), placeFlags{}, containerapps.LogOptions{}
	kind := &choice{"console", []string{"console", "system"}}
	format := &choice{"text", []string{"text", "json"}}
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show what a container wrote, or what happened to a container app",
		Example: "  latchkey containerapp logs show orders --follow\n  latchkey containerapp logs show orders --type system",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Tail < 0 || o.Tail > 300 {
				return usageError{errors.New("--tail is from 0 to 300")}
			}
			if kind.is("system") && p != (placeFlags{}) {
				return usageError{errors.New("--type system is about the whole app: leave --revision, --replica and --container out")}
			}
			o.JSON = format.is("json") || f.out.is(formJSON)
			return f.logs(cmd.Context(), args, p, o, kind.is("system"))
		},
	}
	f.addTo(c)
	p.addTo(c)
	c.Flags().BoolVar(&o.Follow, "follow", false, "go on with new lines until interrupted")
	c.Flags().IntVar(&o.Tail, "tail", 20, "lines of the past, from 0 to 300")
	kind.addAs(c, "type", "lines of a container, or what happened to the app")
	format.addAs(c, "format", "form of the lines")
	return c
}

func (f *containerFlags) logs(ctx context.Context, args []string, p placeFlags, o containerapps.LogOptions, system bool) error {
	client, a, err := f.find(ctx, args)
	if err != nil {
		return err
	}
	out := &cleaned{w: f.env.Stdout, raw: o.JSON}
	if system {
		if !o.JSON {
			out.change = eventText
		}
		err = client.Events(ctx, a, o, out)
	} else {
		var at containerapps.Place
		if at, err = client.Find(ctx, a, p.revision, p.replica, p.container); err != nil {
			return err
		}
		err = client.Logs(ctx, a, at, o, out)
	}
	if o.Follow && ctx.Err() != nil {
		return nil // that is how one stops following
	}
	return err
}

// cleaned writes lines of containers so that they command no terminal.
type cleaned struct {
	w      io.Writer
	raw    bool // they are JSON
	change func(line string) string
	rest   string
}

// Write implements io.Writer.
func (c *cleaned) Write(p []byte) (int, error) {
	c.rest += string(p)
	for {
		line, rest, ok := strings.Cut(c.rest, "\n")
		if !ok {
			return len(p), nil
		}
		c.rest = rest
		if c.change != nil {
			line = c.change(line)
		}
		if c.raw {
			line = visibleJSON(line)
		} else {
			line = visible(strings.ReplaceAll(line, "\t", "    "))
		}
		if _, err := fmt.Fprintln(c.w, line); err != nil {
			return 0, err
		}
	}
}

// eventText says what happened in one line.
func eventText(line string) string {
	var e struct {
		Time     string `json:"TimeStamp"`
		Type     string `json:"Type"`
		Revision string `json:"RevisionName"`
		Replica  string `json:"ReplicaName"`
		Msg      string `json:"Msg"`
		Reason   string `json:"Reason"`
	}
	if json.Unmarshal([]byte(line), &e) != nil {
		return line
	}
	at := e.Time
	if t, err := time.Parse(time.RFC3339Nano, e.Time); err == nil {
		at = t.UTC().Format("2006-01-02 15:04:05")
	}
	return at + "  " + e.Type + "  " + e.Reason + "  " + orText(e.Replica, e.Revision) + "  " + e.Msg
}

func newContainerExec(env *Env) *cobra.Command {
	f, p := newContainerFlags(env), placeFlags{}
	var command string
	c := &cobra.Command{
		Use:   "exec",
		Short: "Run a command in a container, by default a shell",
		Long: "The command ends with the exit code of what ran in the container. On a terminal the\n" +
			"command has a terminal too; otherwise it reads standard input to its end.",
		Example: "  latchkey containerapp exec orders\n  latchkey containerapp exec orders --container orders --command \"ls -l /\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.exec(cmd.Context(), args, p, command)
		},
	}
	f.addTo(c)
	p.addTo(c)
	c.Flags().StringVar(&command, "command", "sh", "the command with its arguments; quotes keep words together")
	return c
}

func (f *containerFlags) exec(ctx context.Context, args []string, p placeFlags, command string) error {
	client, a, err := f.find(ctx, args)
	if err != nil {
		return err
	}
	at, err := client.Find(ctx, a, p.revision, p.replica, p.container)
	if err != nil {
		return err
	}
	o := containerapps.Console{Command: command, Stdin: newStdin(ctx, f.env), Stdout: f.env.Stdout, Stderr: f.env.Stderr}
	file, ok := f.env.Stdin.(*os.File)
	if o.TTY = ok && f.env.Prompt && f.env.Terminal; o.TTY {
		o.Width, o.Height, _ = term.GetSize(int(file.Fd())) // without a size it is as it is
		if before, err := term.MakeRaw(int(file.Fd())); err == nil {
			defer func() { _ = term.Restore(int(file.Fd()), before) }()
		}
	}
	code, err := client.Exec(ctx, a, at, o)
	if err != nil {
		return err
	}
	if code != 0 {
		return quietError{code}
	}
	return nil
}

func newContainerReplica(env *Env) *cobra.Command {
	return newGroup("replica", "Look at the running copies of a revision", newReplicaList(env), newReplicaShow(env))
}

func newReplicaList(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var revision string
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the replicas of a revision with their containers",
		Example: "  latchkey containerapp replica list orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, a, err := f.find(cmd.Context(), args)
			if err != nil {
				return err
			}
			list, err := client.Replicas(cmd.Context(), a, orText(revision, orText(a.Properties.LatestReady, a.Properties.Latest)))
			if err != nil {
				return err
			}
			return f.printReplicas(list)
		},
	}
	f.addTo(c)
	addRevision(c, &revision, "the revision (default: the newest that is ready)")
	return c
}

func (f *containerFlags) printReplicas(list []containerapps.Replica) error {
	docs, rows := []json.RawMessage{}, [][]string{}
	for _, r := range list {
		docs = append(docs, r.Shown)
		var parts []string
		for _, c := range append(append([]containerapps.Container{}, r.Properties.Init...), r.Properties.Containers...) {
			parts = append(parts, c.Name+" "+strings.ToLower(c.Running)+restarts(c.Restarts))
		}
		rows = append(rows, []string{r.Name, r.Properties.Running, when(r.Properties.Created, time.Now()), strings.Join(parts, ", ")})
	}
	return f.print(docs, func() error { return writeTable(f.env.Stdout, "NAME STATE CREATED CONTAINERS", rows) })
}

func restarts(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return " (1 restart)"
	}
	return " (" + strconv.Itoa(n) + " restarts)"
}

func newReplicaShow(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var revision, replica string
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show a replica with its containers",
		Example: "  latchkey containerapp replica show orders --replica orders--abc1234-x2x4z",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, a, err := f.find(cmd.Context(), args)
			if err != nil {
				return err
			}
			list, err := client.Replicas(cmd.Context(), a, orText(revision, orText(a.Properties.LatestReady, a.Properties.Latest)))
			if err != nil {
				return err
			}
			for _, r := range list {
				if r.Name == replica {
					return f.print(r.Shown, func() error { return writeFacts(f.env.Stdout, replicaFacts(r)) })
				}
			}
			return problem.New(problem.NotFound, fmt.Sprintf("there is no replica %.100q", replica)).WithNext("latchkey containerapp replica list " + a.Name)
		},
	}
	f.addTo(c)
	addRevision(c, &revision, "the revision (default: the newest that is ready)")
	c.Flags().StringVar(&replica, "replica", "", "the replica")
	_ = c.MarkFlagRequired("replica") // fails for a flag that is not there only
	return c
}

func replicaFacts(r containerapps.Replica) [][2]string {
	p := r.Properties
	facts := [][2]string{{"name", r.Name}, {"state", p.Running}, {"problem", p.Details}, {"created", when(p.Created, time.Now())}}
	add := func(kind string, list []containerapps.Container) {
		for _, c := range list {
			text := strings.ToLower(c.Running) + restarts(c.Restarts)
			if c.Details != "" {
				text += ": " + c.Details
			}
			facts = append(facts, [2]string{kind + " " + c.Name, text})
		}
	}
	add("init", p.Init)
	add("container", p.Containers)
	return facts
}
