package cli

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
)

// useView says how a key has been used. Its JSON form is a contract.
type useView struct {
	Kind     string     `json:"kind"`
	Function string     `json:"function,omitempty"`
	Name     string     `json:"name"`
	Uses     int64      `json:"uses"` // of its present value
	Last     *time.Time `json:"last,omitempty"`
	From     string     `json:"from"` // kind of address of the last use
	Quota    *quotaView `json:"quota,omitempty"`
}

type quotaView struct {
	Since time.Time `json:"since"`
	Used  int64     `json:"used"`
}

func newKeysUsage(env *Env) *cobra.Command {
	var f keyFlags
	c := &cobra.Command{
		Use:   "usage [DIR]",
		Short: "Show how often access keys were used, and when last",
		Long: "Shows the keys that were used since the app was first started with this data folder: how\n" +
			"often the present value was, when last and from what kind of address. A running app writes\n" +
			"this down once a minute. Keys that are not listed were never used.",
		Example: "  latchkey keys usage\n  latchkey keys usage --function hello --output json ./shop",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return showUsage(cmd.Context(), env, &f, dirArg(args))
		},
	}
	f.addTo(c, env)
	return c
}

func showUsage(ctx context.Context, env *Env, f *keyFlags, dir string) error {
	keys, sections, err := f.openSections(ctx, env, dir)
	if err != nil {
		return err
	}
	defer keys.Close()
	list := []useView{}
	for _, sec := range sections {
		uses, err := keys.Usage(ctx, sec)
		if err != nil {
			return err
		}
		for _, u := range uses {
			list = append(list, viewUse(sec, u))
		}
	}
	return printUsage(env, f.out, list)
}

func viewUse(sec keyring.Section, u keyring.Use) useView {
	v := useView{Kind: sec.Kind.String(), Name: u.Key.Name, Uses: u.Count, From: u.From.String()}
	if sec.Kind == accesskey.Function {
		v.Function = sec.Function
	}
	if !u.Last.IsZero() {
		last := u.Last.UTC().Truncate(time.Second)
		v.Last = &last
	}
	if !u.Quota.Start.IsZero() {
		v.Quota = &quotaView{u.Quota.Start.UTC(), u.Quota.Count}
	}
	return v
}

func printUsage(env *Env, out *choice, list []useView) error {
	if out.is(formJSON) {
		return writeJSON(env.Stdout, list)
	}
	rows := make([][]string, len(list))
	for i, v := range list {
		rows[i] = v.row()
	}
	return writeTable(env.Stdout, "KIND FUNCTION NAME USES LAST FROM QUOTA", rows)
}

func (v useView) row() []string {
	function, last, quota := v.Function, "-", "-"
	if function == "" {
		function = "-"
	}
	if v.Last != nil {
		last = v.Last.Format(time.RFC3339)
	}
	if v.Quota != nil {
		quota = strconv.FormatInt(v.Quota.Used, 10) + " since " + v.Quota.Since.Format(time.DateOnly)
	}
	return []string{v.Kind, function, v.Name, strconv.FormatInt(v.Uses, 10), last, v.From, quota}
}
