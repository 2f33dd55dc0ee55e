package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/bench/seed"
	"github.com/latchkey/latchkey/internal/armclient"
)

// What the installation for references has: apps that do not run, each with an
// identity of its own, and one that does. The first reference of each is to the
// same secret, the others are to one that only it uses.
const (
	referenceApps   = 500
	referencesOfApp = 20
	runningApp      = "running"
	sharedSecret    = 0 // its number

	secretsUser = "4633458b-17de-408a-b874-0445c86b69e6" // the built-in role
)

// referenceRun are the figures of one round.
type referenceRun struct {
	start    time.Duration // from ready until all references were fetched
	refresh  time.Duration // of all by request
	inFlight float64       // most that was seen
	change   time.Duration // of a secret, until all apps have the new version
	restart  time.Duration // until the running app answers with the new value
}

// measureReferences measures fetching all references of an installation anew, and
// how long a changed secret takes to its apps.
func measureReferences(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "latchkey-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := makeVault(ctx, o, dir); err != nil {
		return err
	}
	if err := seed.Secrets(ctx, dir, vaultName, 0, 1+referenceApps*(referencesOfApp-1), 1); err != nil {
		return err
	}
	if err := makeReferences(ctx, o, dir); err != nil {
		return err
	}
	var runs []referenceRun
	var m memory
	for i := range o.rounds {
		run, after, err := referenceRound(ctx, o, dir, fmt.Sprintf("changed-%d", i))
		if err != nil {
			return err
		}
		runs, m = append(runs, run), after
	}
	printReferences(runs, m)
	return nil
}

// startReferences starts the node and gives where its figures are.
func startReferences(ctx context.Context, o options, dir string) (*node, string, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	n, err := startNode(ctx, o.binary, dir, []string{"LATCHKEY_WORKERS_ISOLATION=off"}, "--metrics-address", addr)
	return n, "http://" + addr + "/metrics", err
}

// makeReferences makes the apps with their identities, roles and settings.
func makeReferences(ctx context.Context, o options, dir string) error {
	n, _, err := startReferences(ctx, o, dir)
	if err != nil {
		return err
	}
	defer n.stop()
	clients, err := n.clients(ctx)
	if err != nil {
		return err
	}
	c := clients[0]
	if err := c.Do(ctx, http.MethodPut, subscription(c)+"/resourceGroups/apps", map[string]any{"location": "local"}, nil); err != nil {
		return err
	}
	if err := eachApp(ctx, clients, func(ctx context.Context, c *armclient.Client, i int) error {
		return makeReferringApp(ctx, c, referringApp(i), i)
	}); err != nil {
		return err
	}
	if err := makeReferringApp(ctx, c, runningApp, -1); err != nil {
		return err
	}
	return n.deployWorkload(ctx, c, runningApp)
}

func referringApp(i int) string { return fmt.Sprintf("app-%03d", i) }

func referringPath(c *armclient.Client, name string) string {
	return subscription(c) + "/resourceGroups/apps/providers/Microsoft.Web/sites/" + name
}

// eachApp does something for all apps, as many at a time as there are clients.
func eachApp(ctx context.Context, clients []*armclient.Client, do func(ctx context.Context, c *armclient.Client, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for k, c := range clients {
		group.Go(func() error {
			for i := k; i < referenceApps; i += len(clients) {
				if err := do(ctx, c, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// makeReferringApp makes the i-th app, or with -1 one with only the shared
// reference.
func makeReferringApp(ctx context.Context, c *armclient.Client, name string, i int) error {
	refer := func(secret int) string {
		return "@Microsoft.KeyVault(VaultName=" + vaultName + ";SecretName=" + seed.SecretName(secret) + ")"
	}
	settings := []map[string]string{{"name": "FUNCTIONS_WORKER_RUNTIME", "value": "custom"}, {"name": "SECRET", "value": refer(sharedSecret)}}
	for k := 1; i >= 0 && k < referencesOfApp; k++ {
		settings = append(settings, map[string]string{"name": fmt.Sprintf("SECRET_%d", k), "value": refer(1 + i*(referencesOfApp-1) + k - 1)})
	}
	var made struct{ Identity struct{ PrincipalID string } }
	err := c.Do(ctx, http.MethodPut, referringPath(c, name), map[string]any{
		"location": "local", "kind": "functionapp,linux", "identity": map[string]string{"type": "SystemAssigned"},
		"properties": map[string]any{"siteConfig": map[string]any{"appSettings": settings}},
	}, &made)
	if err != nil {
		return err
	}
	vault := subscription(c) + "/resourceGroups/" + seed.VaultGroup + "/providers/Microsoft.KeyVault/vaults/" + vaultName
	return c.Do(ctx, http.MethodPut, vault+"/providers/Microsoft.Authorization/roleAssignments/"+uuid.NewString()+"?api-version=2022-04-01", map[string]any{
		"properties": map[string]string{
			"principalId": made.Identity.PrincipalID, "principalType": "ServicePrincipal",
			"roleDefinitionId": subscription(c) + "/providers/Microsoft.Authorization/roleDefinitions/" + secretsUser,
		},
	}, nil)
}

// referenceRound starts the node, which fetches all references, has them all
// fetched again, and changes the shared secret.
func referenceRound(ctx context.Context, o options, dir, value string) (run referenceRun, m memory, err error) {
	n, metrics, err := startReferences(ctx, o, dir)
	if err != nil {
		return run, m, err
	}
	defer n.stop()
	const all = referenceApps*referencesOfApp + 1
	began, before := time.Now(), float64(0)
	watch := watchFlight(ctx, metrics)
	if before, err = awaitFetches(ctx, metrics, all); err != nil {
		return run, m, err
	}
	run.start = time.Since(began)
	clients, err := n.clients(ctx)
	if err != nil {
		return run, m, err
	}
	began = time.Now()
	err = eachApp(ctx, clients, func(ctx context.Context, c *armclient.Client, i int) error {
		return c.Do(ctx, http.MethodPost, referringPath(c, referringApp(i))+"/config/configreferences/appsettings/refresh?api-version=2022-03-01", nil, nil)
	})
	if err != nil {
		return run, m, err
	}
	if _, err = awaitFetches(ctx, metrics, before+all-1); err != nil {
		return run, m, err
	}
	run.refresh, run.inFlight = time.Since(began), watch()
	if err := run.changeShared(ctx, n, metrics, clients, value); err != nil {
		return run, m, err
	}
	m, err = memoryOf(n.pid())
	return run, m, err
}

// changeShared gives the shared secret another value and waits until it is with
// all apps: until the running one answers with it, and the others have fetched it
// and are shown with its version.
func (run *referenceRun) changeShared(ctx context.Context, n *node, metrics string, clients []*armclient.Client, value string) error {
	c := clients[0]
	err := await(ctx, time.Minute, func() error { _, err := n.workload(ctx, runningApp); return err })
	if err != nil {
		return err
	}
	before, err := awaitFetches(ctx, metrics, 0)
	if err != nil {
		return err
	}
	base, err := c.VaultURL(vaultName)
	if err != nil {
		return err
	}
	var made struct{ ID string }
	began := time.Now()
	if err := c.Do(ctx, http.MethodPut, base+"/secrets/"+seed.SecretName(sharedSecret)+"?api-version=7.4", map[string]string{"value": value}, &made); err != nil {
		return err
	}
	var wait sync.WaitGroup
	var restarted error
	wait.Go(func() {
		restarted = await(ctx, time.Minute, func() error {
			w, err := n.workload(ctx, runningApp)
			if err == nil && w.Secret != value {
				err = errors.New("the running app has the former value")
			}
			return err
		})
		run.restart = time.Since(began)
	})
	version := made.ID[strings.LastIndexByte(made.ID, '/')+1:]
	_, err = awaitFetches(ctx, metrics, before+referenceApps+1)
	if err != nil {
		return err
	}
	err = eachApp(ctx, clients, func(ctx context.Context, c *armclient.Client, i int) error {
		return await(ctx, time.Minute, func() error { return hasVersion(ctx, c, referringApp(i), version) })
	})
	run.change = time.Since(began)
	wait.Wait()
	return errors.Join(err, restarted)
}

func hasVersion(ctx context.Context, c *armclient.Client, app, version string) error {
	var shown struct {
		Properties struct{ ActiveVersion string }
	}
	err := c.Do(ctx, http.MethodGet, referringPath(c, app)+"/config/configreferences/appsettings/SECRET?api-version=2022-03-01", nil, &shown)
	if err == nil && shown.Properties.ActiveVersion != version {
		err = fmt.Errorf("%s has version %q", app, shown.Properties.ActiveVersion)
	}
	return err
}

// awaitFetches waits until so many fetches have ended well, and gives how many have.
func awaitFetches(ctx context.Context, metrics string, count float64) (had float64, err error) {
	err = await(ctx, 5*time.Minute, func() error {
		f, err := figures(metrics)
		if had = f[`latchkey_reference_fetches_total{status="Resolved"}`]; err == nil && had < count {
			err = fmt.Errorf("%.0f of %.0f references were fetched: %v", had, count, f)
		}
		time.Sleep(10 * time.Millisecond) // reading figures costs time too
		return err
	})
	return had, err
}

// watchFlight looks at how many fetches are in flight until it is asked for the
// most it saw.
func watchFlight(ctx context.Context, metrics string) (most func() float64) {
	ctx, cancel := context.WithCancel(ctx)
	result := make(chan float64)
	go func() {
		top := float64(0)
		for ctx.Err() == nil {
			if f, err := figures(metrics); err == nil {
				top = max(top, f["latchkey_reference_fetches_in_flight"])
			}
			time.Sleep(5 * time.Millisecond)
		}
		result <- top
	}()
	return func() float64 { cancel(); return <-result }
}

// figures reads the figures of references that a node shows.
func figures(url string) (map[string]float64, error) {
	resp, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	list := map[string]float64{}
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), " ")
		if strings.HasPrefix(name, "latchkey_reference_") {
			list[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	return list, nil
}

func printReferences(runs []referenceRun, m memory) {
	var start, refresh, change, restart []time.Duration
	most := float64(0)
	for _, r := range runs {
		start, refresh = append(start, r.start), append(refresh, r.refresh)
		change, restart = append(change, r.change), append(restart, r.restart)
		most = max(most, r.inFlight)
	}
	fmt.Printf("\n%d references of %d apps, medians of %d rounds:\n\n| | |\n|---|---|\n", referenceApps*referencesOfApp, referenceApps, len(runs))
	fmt.Printf("| all fetched after the start | %.2f s |\n| all refreshed by request, 16 clients | %.2f s |\n", middle(start).Seconds(), middle(refresh).Seconds())
	fmt.Printf("| a changed secret is with %d apps | %.2f s |\n| the running app answers with it | %.2f s |\n", referenceApps, middle(change).Seconds(), middle(restart).Seconds())
	fmt.Printf("| most fetches in flight that were seen | %.0f |\n| memory: total, anonymous, file | %d, %d, %d MiB |\n", most, m.total()>>10, m.anonymous>>10, m.file>>10)
}
