package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/platform"
)

func newPortal(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use:   "portal",
		Short: "Print a link that signs in to the portal once",
		Long: "Prints a link to the web pages of the installation that signs in as whoever commands sign in\n" +
			"as. It works once and for ten minutes: give it to nobody else.",
		Example: "  latchkey portal\n  latchkey portal --data-dir /var/lib/latchkey",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			link, err := in.PortalLink(cmd.Context())
			if err != nil {
				return err
			}
			if s.out.is(formJSON) {
				return writeJSON(env.Stdout, link)
			}
			fmt.Fprintln(env.Stdout, link.URL)
			return nil
		},
	}
	s.addTo(c)
	return c
}

// portalLink gives a link for the owner where the portal is shown to a person: output
// that is kept could be read later by others.
func portalLink(ctx context.Context, env *Env, node *platform.Node) string {
	if !env.Terminal {
		return ""
	}
	link, err := node.OwnerLink(ctx)
	if err != nil {
		return "" // there is no portal, or no owner: latchkey portal says why
	}
	return link + "  (works once, for ten minutes; then: latchkey portal)"
}
