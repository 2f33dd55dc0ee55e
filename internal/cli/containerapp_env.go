package cli

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/containerapps"
)

func newContainerEnv(env *Env) *cobra.Command {
	return newGroup("env", "Make the environments that container apps are in",
		newContainerEnvCreate(env), newContainerEnvList(env), newContainerEnvShow(env), newContainerEnvDelete(env))
}

func newContainerEnvCreate(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var location string
	var tags []string
	c := &cobra.Command{
		Use:     "create",
		Short:   "Make an environment for container apps",
		Example: "  latchkey containerapp env create apps\n  latchkey containerapp env create -n shop -g shop",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := f.named(args)
			if err != nil {
				return err
			}
			m, err := pairs(tags, "--tags")
			if err != nil {
				return usageError{err}
			}
			client, err := f.client(cmd.Context())
			if err != nil {
				return err
			}
			e, err := client.CreateEnvironment(cmd.Context(), orText(f.group, defaultGroup), name, location, m)
			if err != nil {
				return err
			}
			return f.said(e.Shown, "created environment %s in group %s", e.Name, e.Group)
		},
	}
	f.addTo(c)
	c.Flags().StringVar(&location, "location", "local", "its location")
	c.Flags().StringArrayVar(&tags, "tags", nil, "tags: K=V; may be repeated")
	return c
}

func newContainerEnvList(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the environments",
		Example: "  latchkey containerapp env list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := f.client(cmd.Context())
			if err != nil {
				return err
			}
			list, err := client.Environments(cmd.Context(), f.group)
			if err != nil {
				return err
			}
			docs, rows := []json.RawMessage{}, [][]string{}
			for _, e := range list {
				docs = append(docs, e.Shown)
				rows = append(rows, []string{e.Name, e.Group, e.Properties.Domain})
			}
			return f.print(docs, func() error { return writeTable(env.Stdout, "NAME GROUP DOMAIN", rows) })
		},
	}
	f.session.addTo(c)
	c.Flags().StringVarP(&f.group, "resource-group", "g", "", "only environments of this resource group")
	return c
}

// environment signs in and finds the environment that is meant.
func (f *containerFlags) environment(cmd *cobra.Command, args []string) (*containerapps.Client, containerapps.Environment, error) {
	name, err := f.named(args)
	if err != nil {
		return nil, containerapps.Environment{}, err
	}
	client, err := f.client(cmd.Context())
	if err != nil {
		return nil, containerapps.Environment{}, err
	}
	e, err := client.Environment(cmd.Context(), name, f.group)
	return client, e, err
}

func newContainerEnvShow(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show an environment",
		Example: "  latchkey containerapp env show apps",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, e, err := f.environment(cmd, args)
			if err != nil {
				return err
			}
			return f.print(e.Shown, func() error {
				return writeFacts(env.Stdout, [][2]string{{"name", e.Name}, {"group", e.Group}, {"location", e.Location}, {"state", e.Properties.State}, {"domain", e.Properties.Domain}, {"id", e.ID}})
			})
		},
	}
	f.addTo(c)
	return c
}

func newContainerEnvDelete(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var yes bool
	c := &cobra.Command{
		Use:     "delete",
		Short:   "Delete an environment that no container apps are in",
		Example: "  latchkey containerapp env delete apps --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, e, err := f.environment(cmd, args)
			if err != nil {
				return err
			}
			if err := confirm(cmd.Context(), env, yes, "environment "+printable(e.Name)+" is deleted; one made anew has another domain", "delete it?"); err != nil {
				return err
			}
			if err := client.DeleteEnvironment(cmd.Context(), e); err != nil {
				return err
			}
			return f.said(e.Shown, "deleted environment %s", e.Name)
		},
	}
	f.addTo(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}
