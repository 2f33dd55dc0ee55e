package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func newToken(env *Env) *cobra.Command {
	return newGroup("token", "Get tokens, and expire those of a principal", newTokenGet(env), newTokenExpire(env))
}

// tokenView is a token as it is printed. Its JSON form is a contract, that of
// other clients' get-access-token.
type tokenView struct {
	AccessToken string    `json:"accessToken"`
	ExpiresOn   time.Time `json:"expiresOn"`
	TokenType   string    `json:"tokenType"`
	Tenant      string    `json:"tenant"`
	Resource    string    `json:"resource"`
}

func newTokenGet(env *Env) *cobra.Command {
	s := newSession(env)
	var resource string
	c := &cobra.Command{
		Use: "get", Short: "Get a token for whom you are signed in as",
		Long: "Prints a token for a resource: by default that of the management API, with --resource vault\n" +
			"that of the installation's vaults, else any https:// address. The token is a secret: whoever\n" +
			"has it is you until it expires.",
		Example: "  latchkey token get --output json\n  curl -H @<(printf 'Authorization: Bearer %s' \"$(latchkey token get --resource vault)\") …",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.token(cmd.Context(), resource) },
	}
	s.addTo(c)
	c.Flags().StringVar(&resource, "resource", "", "vault, or the address of what the token is for (default: the management API)")
	return c
}

func (s *session) token(ctx context.Context, resource string) error {
	in, err := s.open(ctx)
	if err != nil {
		return err
	}
	client := in.Client()
	switch resource {
	case "":
		resource = client.Credential().Endpoint
	case "vault":
		resource = client.VaultResource()
	}
	t, err := client.Token(ctx, resource)
	if err != nil {
		return err
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, tokenView{t.Raw, t.Expires.UTC().Truncate(time.Second), "Bearer", client.Credential().TenantID, resource})
	}
	_, err = fmt.Fprintln(s.env.Stdout, t.Raw)
	return err
}

func newTokenExpire(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use: "expire PRINCIPAL", Short: "End all tokens of a principal at once",
		Long: "Ends all tokens that a principal has, wherever they are kept; it can get new ones. A\n" +
			"principal is named by name, client id or object id; an app's own identity by the app's name.\n" +
			"Changed roles and groups need this not: they count at once, for tokens there are as well.",
		Example: "  latchkey token expire orders",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			p, err := in.Principal(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := in.ExpireTokens(cmd.Context(), p); err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "the tokens of %s are no longer accepted\n", printable(p.Name))
			return err
		},
	}
	s.addDataDir(c)
	return c
}
