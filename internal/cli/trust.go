package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trust"
)

// askTime bounds the question which apps there are: trust works without the
// answer.
const askTime = 10 * time.Second

func newTrust(env *Env) *cobra.Command {
	var f showTrust
	c := newGroup("trust", "Make this machine's clients trust and find the installation",
		newTrustShow(env), newTrustEnv(env), newTrustInstall(env), newTrustUninstall(env), newTrustHosts(env), newTrustProxy(env))
	c.Long = "Shows what ordinary clients on this machine need before they work with the\n" +
		"installation: its certificate authority, host entries of its apps, variables of\n" +
		"the environment; and puts the first two in place, or takes them away again.\n" +
		"The authority is limited to the installation's hosts and to loopback addresses:\n" +
		"who trusts it trusts it with nothing else."
	c.Example = "  latchkey trust\n  sudo latchkey trust install --data-dir ~/.local/share/latchkey\n  eval \"$(latchkey trust env)\""
	c.RunE = func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env) }
	f.addTo(c)
	return c
}

// installation is what the trust commands know of the installation.
type installation struct {
	dataDir    string // absolute
	authority  trust.Authority
	credential armclient.Credential // empty if this machine has none
	domain     string
	management int    // port; 0 if it is not known
	loginHome  string // of the user whose login it is; "" if it has a data folder
}

// trustFlags are those of all trust commands.
type trustFlags struct{ dataDir, address string }

func (f *trustFlags) addTo(c *cobra.Command) {
	c.Flags().StringVar(&f.dataDir, "data-dir", "", "the installation's data folder (default: that of up)")
	_ = c.MarkFlagDirname("data-dir") // fails for a flag that is not there only
}

func (f *trustFlags) addAddressTo(c *cobra.Command) {
	c.Flags().StringVar(&f.address, "node-address", "", "IP address of the node for host entries (default: that of its domain)")
}

// find reads what the data folder has. A folder without the owner's credential is
// good enough for everything that needs no apps.
func (f *trustFlags) find(env *Env) (i installation, err error) {
	if i.dataDir = first(f.dataDir, env.Get("LATCHKEY_DATA_DIR"), defaultDataDir(env)); i.dataDir == "" {
		return i, usageError{problem.New(problem.Invalid, "no data folder is given").WithNext("give one with --data-dir")}
	}
	if i.dataDir, err = filepath.Abs(i.dataDir); err != nil {
		return i, err
	}
	i.authority, err = trust.ReadAuthority(filepath.Join(i.dataDir, platform.CAFile))
	if errors.Is(err, problem.NotFound) && f.dataDir == "" {
		return i.ofLogin(env, err)
	}
	if err != nil {
		return i, err
	}
	i.credential, err = armclient.ReadCredential(filepath.Join(i.dataDir, platform.OwnerFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		err = nil
	}
	return i.complete(), err
}

// ofLogin gives the installation that this user is signed in to, whose data folder
// is on another machine; none is the error why there is none here.
func (i installation) ofLogin(env *Env, none error) (installation, error) {
	found, err := placesOf(env, "").Find()
	if err != nil || found.CAFile == "" {
		return i, none
	}
	i.dataDir, i.credential, i.loginHome = filepath.Dir(found.CAFile), found.Credential, env.Get("HOME")
	i.authority, err = trust.ReadAuthority(found.CAFile)
	return i.complete(), err
}

// complete fills in what follows from the authority and the credential.
func (i installation) complete() installation {
	if i.authority.Cert == nil {
		return i
	}
	i.domain = platform.DefaultDomain
	if domains := i.authority.Domains(); len(domains) > 0 {
		i.domain = domains[0]
	}
	i.credential.CAFile = i.authority.File // the folder may have moved
	i.management = portOf(i.credential.Endpoint)
	return i
}

// asRoot gives the command line that does the same as root, whose own folders are
// others.
func (i installation) asRoot(command string) string {
	if i.loginHome != "" {
		return "sudo HOME=" + quoteArg(i.loginHome) + " latchkey trust " + command
	}
	return "sudo latchkey trust " + command + " --data-dir " + quoteArg(i.dataDir)
}

func portOf(endpoint string) int {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return 0
	}
	if u.Port() == "" {
		return 443
	}
	port, err := net.LookupPort("tcp", u.Port())
	if err != nil {
		return 0
	}
	return port
}

// nodeAddress gives the address that host entries have.
func (f *trustFlags) nodeAddress(ctx context.Context, domain string) (netip.Addr, error) {
	if f.address != "" {
		address, err := netip.ParseAddr(f.address)
		if err != nil || address.Zone() != "" {
			return address, usageError{problem.New(problem.Invalid, fmt.Sprintf("--node-address %q is no IP address", f.address)).
				WithNext("write it as 127.0.0.1, or ::1")}
		}
		return address, nil
	}
	if domain == platform.DefaultDomain {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", domain)
	if err != nil || len(found) == 0 {
		return netip.Addr{}, problem.Wrap(problem.Unavailable, "the address of "+domain+" is not known", err).WithNext("give it with --node-address")
	}
	return found[0].Unmap(), nil
}

// listed is what trust needs of an app or vault.
type listed struct {
	Name       string `json:"name"`
	Properties struct {
		Host string `json:"defaultHostName"`
	} `json:"properties"`
}

// list asks the installation for its resources of a type.
func (i installation) list(ctx context.Context, typ string) ([]listed, error) {
	if i.credential.Endpoint == "" {
		return nil, problem.New(problem.Unavailable, "this user cannot read "+filepath.Join(i.dataDir, platform.OwnerFile)+", so the apps and vaults are not known").
			WithNext("run this as the user who runs latchkey up, or as root")
	}
	client, err := armclient.New(i.credential)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return armclient.List[listed](ctx, client, "/subscriptions/"+url.PathEscape(i.credential.SubscriptionID)+"/providers/"+typ)
}

// apps asks the installation for its apps.
func (i installation) apps(ctx context.Context) ([]listed, error) {
	return i.list(ctx, "Microsoft.Web/sites")
}

func namesOf(list []listed) []string {
	names := make([]string, len(list))
	for n, one := range list {
		names[n] = one.Name
	}
	return names
}

// wanted gives the host entries that the installation's apps and vaults need.
func (f *trustFlags) wanted(ctx context.Context, i installation) ([]trust.Entry, error) {
	apps, err := i.apps(ctx)
	if err != nil {
		return nil, err
	}
	vaults, err := i.list(ctx, "Microsoft.KeyVault/vaults")
	if err != nil {
		return nil, err
	}
	address, err := f.nodeAddress(ctx, i.domain)
	if err != nil {
		return nil, err
	}
	entries, err := trust.AppEntries(address, i.domain, namesOf(apps))
	if err != nil {
		return nil, err
	}
	more, err := trust.VaultEntries(address, i.domain, namesOf(vaults))
	return append(entries, more...), err
}

// environment gives the variables of clients.
func (i installation) environment(withCredentials bool) trust.Installation {
	v := trust.Installation{
		CAFile: i.authority.File, Endpoint: strings.TrimSuffix(i.credential.Endpoint, "/"),
		TenantID: i.credential.TenantID, SubscriptionID: i.credential.SubscriptionID,
	}
	// Where there is only a login, there is no bundle, and the authority alone in
	// its place would take all others away.
	if bundle := filepath.Join(i.dataDir, platform.BundleFile); isFile(bundle) {
		v.BundleFile = bundle
	}
	if withCredentials {
		v.ClientID, v.ClientSecret = i.credential.ClientID, i.credential.ClientSecret
	}
	return v
}

// apply shows a plan, makes sure that it is wanted, and does it.
func apply(ctx context.Context, env *Env, plan trust.Plan, asRoot string, yes, dryRun bool) error {
	if len(plan) == 0 {
		fmt.Fprintln(env.Stdout, "Nothing to do.")
		return nil
	}
	if err := showPlan(env.Stdout, plan); err != nil || dryRun {
		return err
	}
	if err := env.machine().Privileged(plan); err != nil {
		return problem.Wrap(problem.Denied, "nothing was changed", err).WithNext("run: " + asRoot)
	}
	if err := confirm(ctx, env, yes, "this changes the machine for all of its users", "do it?"); err != nil {
		return err
	}
	if err := plan.Do(ctx); err != nil {
		return err
	}
	fmt.Fprintln(env.Stdout, "Done.")
	return nil
}

func showPlan(w io.Writer, plan trust.Plan) error {
	fmt.Fprintln(w, "Changes:")
	for _, c := range plan {
		for line := range strings.SplitSeq(c.What, "\n") {
			if _, err := fmt.Fprintln(w, "  "+printable(line)); err != nil {
				return err
			}
		}
	}
	return nil
}

// machine gives what trust works on.
func (e *Env) machine() trust.Machine {
	if e.Machine != nil {
		return *e.Machine
	}
	return trust.Local()
}

// quoteArg writes an argument so that it can be copied to a shell.
func quoteArg(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("/._-+:@%", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
