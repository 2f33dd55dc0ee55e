package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/containerapps"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
)

func newContainerSecret(env *Env) *cobra.Command {
	return newGroup("secret", "Keep the secrets of a container app",
		newContainerSecretList(env), newContainerSecretShow(env), newContainerSecretSet(env), newContainerSecretRemove(env))
}

func newContainerSecretList(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var values bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the secrets of a container app",
		Example: "  latchkey containerapp secret list orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, a, err := f.find(cmd.Context(), args)
			if err != nil {
				return err
			}
			list := []containerapps.Secret{}
			if values {
				list, err = client.Secrets(cmd.Context(), a)
			} else {
				for _, s := range a.Properties.Configuration.Secrets {
					list = append(list, containerapps.Secret{Name: s.Name, KeyVaultURL: s.KeyVaultURL, Identity: s.Identity})
				}
			}
			if err == nil {
				err = client.Standing(cmd.Context(), a, list)
			}
			if err != nil {
				return err
			}
			return f.printSecrets(list, values)
		},
	}
	f.addTo(c)
	c.Flags().BoolVar(&values, "show-values", false, "show the values as well")
	return c
}

func (f *containerFlags) printSecrets(list []containerapps.Secret, values bool) error {
	return f.print(list, func() error {
		rows, heading := [][]string{}, "NAME FROM STATUS"
		if values {
			heading += " VALUE"
		}
		for _, s := range list {
			row := []string{s.Name, secretFrom(s.KeyVaultURL, s.Identity), secretStatus(s)}
			if values && s.Value != nil {
				row = append(row, *s.Value)
			}
			rows = append(rows, row)
		}
		return writeTable(f.env.Stdout, heading, rows)
	})
}

// secretStatus says how a secret stands.
func secretStatus(s containerapps.Secret) string {
	status := orText(s.Status, "-")
	if s.Stale {
		status += ", last good value in use"
	}
	if s.Why != "" {
		status += ": " + s.Why
	}
	return status
}

// secretFrom says where the value of a secret comes from.
func secretFrom(url, identity string) string {
	if url == "" {
		return "own value"
	}
	return url + " read by " + lastOf(identity)
}

func newContainerSecretShow(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var name string
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show a secret of a container app with its value",
		Example: "  latchkey containerapp secret show orders --secret-name db",
		RunE: func(cmd *cobra.Command, args []string) error {
			client, a, err := f.find(cmd.Context(), args)
			if err != nil {
				return err
			}
			return f.showSecret(cmd.Context(), client, a, name)
		},
	}
	f.addTo(c)
	c.Flags().StringVar(&name, "secret-name", "", "name of the secret")
	_ = c.MarkFlagRequired("secret-name") // fails for a flag that is not there only
	return c
}

func (f *containerFlags) showSecret(ctx context.Context, client *containerapps.Client, a containerapps.App, name string) error {
	list, err := client.Secrets(ctx, a)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.Name != name {
			continue
		}
		return f.print(s, func() error {
			value := ""
			if s.Value != nil {
				value = *s.Value
			}
			return writeFacts(f.env.Stdout, [][2]string{{"name", s.Name}, {"from", secretFrom(s.KeyVaultURL, s.Identity)}, {"value", value}})
		})
	}
	return problem.New(problem.NotFound, fmt.Sprintf("%s has no secret %.100q", a.Name, name)).WithNext("latchkey containerapp secret list " + a.Name)
}

func newContainerSecretSet(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var texts []string
	c := &cobra.Command{
		Use:   "set",
		Short: "Set secrets of a container app; others stay",
		Long: "A value that containers have from the environment reaches them with their next start:\n" +
			"latchkey containerapp revision restart.",
		Example: "  latchkey containerapp secret set orders --secrets db=@db.txt\n  openssl rand -hex 16 | latchkey containerapp secret set orders --secrets token=-\n" +
			"  latchkey containerapp secret set orders --secrets db=keyvaultref:https://shop.vault.localhost:7443/secrets/db,identityref:system",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(texts) == 0 {
				return usageError{errors.New("say --secrets NAME=@FILE, NAME=-, NAME=VALUE or NAME=keyvaultref:URL,identityref:ID")}
			}
			return f.setSecrets(cmd.Context(), args, texts)
		},
	}
	f.addTo(c)
	c.Flags().StringArrayVarP(&texts, "secrets", "s", nil, "secrets: NAME=@FILE, NAME=- for standard input, NAME=VALUE, or NAME=keyvaultref:URL,identityref:ID; may be repeated")
	return c
}

func (f *containerFlags) setSecrets(ctx context.Context, args, texts []string) error {
	list, err := f.readSecrets(ctx, texts)
	if err != nil {
		return err
	}
	client, a, err := f.find(ctx, args)
	if err != nil {
		return err
	}
	for i := range list {
		if list[i].Identity, err = f.identityID(ctx, list[i].Identity); err != nil {
			return err
		}
	}
	a, err = client.Change(ctx, a.ID, func(a *containerapps.App) error { a.SetSecrets(list); return nil })
	if err != nil {
		return err
	}
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
	}
	return f.said(a.Properties.Configuration.Secrets, "set %s of %s", strings.Join(names, ", "), a.Name)
}

func newContainerSecretRemove(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var names []string
	c := &cobra.Command{
		Use:     "remove",
		Short:   "Remove secrets of a container app that nothing refers to",
		Example: "  latchkey containerapp secret remove orders --secret-names db",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(names) == 0 {
				return usageError{errors.New("say which with --secret-names")}
			}
			_, a, err := f.change(cmd.Context(), args, func(a *containerapps.App) error { return a.RemoveSecrets(names) })
			if err != nil {
				return err
			}
			return f.said(a.Properties.Configuration.Secrets, "removed %s of %s", strings.Join(names, ", "), a.Name)
		},
	}
	f.addTo(c)
	c.Flags().StringArrayVar(&names, "secret-names", nil, "names of secrets; may be repeated")
	return c
}

func newContainerRegistry(env *Env) *cobra.Command {
	return newGroup("registry", "Say with which right a container app pulls images",
		newContainerRegistryList(env), newContainerRegistryShow(env), newContainerRegistrySet(env), newContainerRegistryRemove(env))
}

// registryFlags say the right for one registry.
type registryFlags struct{ server, username, password, identity string }

// addTo adds the flags; long ones for commands that are about more than registries.
func (r *registryFlags) addTo(c *cobra.Command, long bool) {
	prefix := ""
	if long {
		prefix = "registry-"
	}
	c.Flags().StringVar(&r.server, prefix+"server", "", "host of the registry, such as registry.example")
	c.Flags().StringVar(&r.username, prefix+"username", "", "user name there")
	c.Flags().StringVar(&r.password, prefix+"password", "", "password there: @FILE, - for standard input, or the password; it is kept as a secret")
	c.Flags().StringVar(&r.identity, prefix+"identity", "", "identity that pulls instead: system, a name or an id")
}

// apply sets the right for the registry that the flags name, if they do.
func (r registryFlags) apply(ctx context.Context, f *containerFlags, a *containerapps.App) error {
	switch {
	case r.server == "" && r == (registryFlags{}):
		return nil
	case r.server == "":
		return usageError{errors.New("say which registry: --registry-server")}
	case r.identity == "" && (r.username == "" || r.password == ""):
		return usageError{errors.New("a registry needs a user name and a password, or an identity")}
	case r.identity != "" && (r.username != "" || r.password != ""):
		return usageError{errors.New("a registry has a user name with a password, or an identity, not both")}
	}
	reg := containerapp.Registry{Server: r.server, Username: r.username}
	var err error
	if r.identity != "" {
		reg.Identity, err = f.identityID(ctx, r.identity)
	} else {
		reg.PasswordSecretRef = registrySecret(r.server, r.username)
		var secrets []containerapp.Secret
		secrets, err = f.readSecrets(ctx, []string{reg.PasswordSecretRef + "=" + r.password})
		a.SetSecrets(secrets)
	}
	a.SetRegistry(reg)
	return err
}

// registrySecret names the secret of a password as other clients do: the registry
// without dots, and the user.
func registrySecret(server, user string) string {
	name := strings.ToLower(strings.NewReplacer(".", "", ":", "", "/", "").Replace(server) + "-" + user)
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, name)
}

func newContainerRegistryList(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the registries that a container app has rights for",
		Example: "  latchkey containerapp registry list orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, a, err := f.find(cmd.Context(), args)
			if err != nil {
				return err
			}
			return f.printRegistries(a.Properties.Configuration.Registries)
		},
	}
	f.addTo(c)
	return c
}

func (f *containerFlags) printRegistries(list []containerapp.Registry) error {
	if list == nil {
		list = []containerapp.Registry{}
	}
	return f.print(list, func() error {
		var rows [][]string
		for _, r := range list {
			rows = append(rows, []string{r.Server, dash(lastOf(r.Identity)), dash(r.Username), dash(r.PasswordSecretRef)})
		}
		return writeTable(f.env.Stdout, "SERVER IDENTITY USER PASSWORD-IN-SECRET", rows)
	})
}

func newContainerRegistryShow(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var server string
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show the right that a container app has for a registry",
		Example: "  latchkey containerapp registry show orders --server registry.example",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, a, err := f.find(cmd.Context(), args)
			if err != nil {
				return err
			}
			for _, r := range a.Properties.Configuration.Registries {
				if strings.EqualFold(r.Server, server) {
					return f.printRegistries([]containerapp.Registry{r})
				}
			}
			return a.RemoveRegistry(server) // says that it is not there
		},
	}
	f.addTo(c)
	c.Flags().StringVar(&server, "server", "", "host of the registry")
	_ = c.MarkFlagRequired("server") // fails for a flag that is not there only
	return c
}

func newContainerRegistrySet(env *Env) *cobra.Command {
	f, r := newContainerFlags(env), registryFlags{}
	c := &cobra.Command{
		Use:   "set",
		Short: "Set the right that a container app pulls images of a registry with",
		Example: "  latchkey containerapp registry set orders --server registry.example --identity puller\n" +
			"  latchkey containerapp registry set orders --server registry.example --username ci --password @password.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			client, a, err := f.find(ctx, args)
			if err != nil {
				return err
			}
			a, err = client.Change(ctx, a.ID, func(a *containerapps.App) error { return r.apply(ctx, f, a) })
			if err != nil {
				return err
			}
			return f.printRegistries(a.Properties.Configuration.Registries)
		},
	}
	f.addTo(c)
	r.addTo(c, false)
	_ = c.MarkFlagRequired("server") // fails for a flag that is not there only
	return c
}

func newContainerRegistryRemove(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var server string
	c := &cobra.Command{
		Use:     "remove",
		Short:   "Remove the right that a container app has for a registry",
		Example: "  latchkey containerapp registry remove orders --server registry.example",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, a, err := f.change(cmd.Context(), args, func(a *containerapps.App) error { return a.RemoveRegistry(server) })
			if err != nil {
				return err
			}
			return f.said(a.Properties.Configuration.Registries, "removed %s of %s", server, a.Name)
		},
	}
	f.addTo(c)
	c.Flags().StringVar(&server, "server", "", "host of the registry")
	_ = c.MarkFlagRequired("server") // fails for a flag that is not there only
	return c
}
