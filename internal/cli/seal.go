package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/manage"
)

func newSeal(env *Env) *cobra.Command {
	c := newGroup("seal", "Show and change the keys that protect an installation",
		newSealShow(env), newSealRotate(env), newSealRewrap(env))
	c.Long = "Everything an installation keeps is sealed with data keys, which are themselves\n" +
		"encrypted under the key-encryption key: the file kek in the data folder, or LATCHKEY_KEK."
	return c
}

func newSealShow(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use:   "show",
		Short: "Show what an installation is: its state, keys and nodes",
		Long: "Shows the installation's ids, version, state, data key, certificate authority and\n" +
			"nodes, with those that have not been heard of for a while.",
		Example: "  latchkey seal show\n  latchkey seal show --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			info, err := in.Info(cmd.Context())
			if err != nil {
				return err
			}
			return showInfo(s, info)
		},
	}
	s.addTo(c)
	return c
}

func showInfo(s *session, info manage.Info) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, info)
	}
	facts := [][2]string{
		{"tenant", info.TenantID}, {"subscription", info.SubscriptionID}, {"version", info.Version},
		{"made", info.Created.UTC().Format(time.RFC3339)}, {"state", info.State}, {"data key", info.Keyset}, {"authority", info.CAFingerprint},
	}
	for _, n := range info.Nodes {
		how := "alive"
		if !n.Alive {
			how = "not seen since " + n.Seen.UTC().Format(time.RFC3339)
		}
		facts = append(facts, [2]string{"node " + printable(n.Name), how + ", " + n.Version + ", " + n.Management})
	}
	return writeFacts(s.env.Stdout, facts)
}

func newSealRotate(env *Env) *cobra.Command {
	s := newSession(env)
	var tokens bool
	c := &cobra.Command{
		Use:   "rotate",
		Short: "Make a new data key and seal everything with it, while it serves",
		Long: "Makes a new data key and seals every document with it. What was sealed before stays\n" +
			"readable at every moment. With --tokens the key that signs tokens is changed instead: the\n" +
			"new one signs after a day, tokens of the old one stay good.",
		Example: "  latchkey seal rotate\n  latchkey seal rotate --tokens",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return rotateSeal(cmd.Context(), s, tokens) },
	}
	s.addDataDir(c)
	c.Flags().BoolVar(&tokens, "tokens", false, "change the key that signs tokens instead")
	return c
}

func rotateSeal(ctx context.Context, s *session, tokens bool) error {
	in, err := s.open(ctx)
	if err != nil {
		return err
	}
	if tokens {
		if err := in.RotateTokens(ctx); err != nil {
			return err
		}
		_, err = fmt.Fprintln(s.env.Stdout, "a new key that signs tokens was published")
		return err
	}
	n, err := in.RotateSeal(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.env.Stdout, "%s sealed with a new data key\n", countOf(n, "document"))
	return err
}

func newSealRewrap(env *Env) *cobra.Command {
	s := newSession(env)
	var given, yes bool
	c := &cobra.Command{
		Use:   "rewrap",
		Short: "Change the key-encryption key, while it serves",
		Long: "Encrypts the data keys under another key-encryption key: a new one in the file kek in the\n" +
			"node's data folder, or with --stdin one of yours (32 bytes, base64 or hexadecimal), which you\n" +
			"have stored as LATCHKEY_KEK already. Nodes need the new key before they start again. Backups\n" +
			"made before need the former key: keep it as long as them.",
		Example: "  latchkey seal rewrap\n  latchkey seal rewrap --stdin < /etc/latchkey/kek.new",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return rewrapSeal(cmd.Context(), s, given, yes) },
	}
	s.addDataDir(c)
	c.Flags().BoolVar(&given, "stdin", false, "take the new key from standard input")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func rewrapSeal(ctx context.Context, s *session, given, yes bool) error {
	key := ""
	if given {
		text, err := io.ReadAll(io.LimitReader(s.env.Stdin, mostInput))
		if err != nil {
			return err
		}
		key, yes = strings.TrimSpace(string(text)), true // there is nobody left to ask
	}
	consequence := "backups made so far need the key-encryption key of now: keep a copy of it with them, apart"
	if err := confirm(ctx, s.env, yes, consequence, "change it?"); err != nil {
		return err
	}
	in, err := s.open(ctx)
	if err != nil {
		return err
	}
	if err := in.RewrapSeal(ctx, key); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.env.Stdout, "the key-encryption key was changed; save the new one where the old one was saved")
	return err
}
