package witness

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// The whole life of an environment and an app by the Go library.
func TestTheGoLibraryLivesWithAContainerApp(t *testing.T) {
	p := upContained(t)
	c := p.owner(t)
	factory, err := armappcontainers.NewClientFactory(c.cred.SubscriptionID, c, c.options())
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*platformtest.Patience)
	defer cancel()
	c.do(t, "PUT", c.group("rg")+"?api-version=2021-04-01", `{"location":"local"}`)
	l := containerLife{t, ctx, factory}
	l.made()
	l.changed()
	l.revised()
	l.replaced()
	l.stoppedAndStarted()
	l.listed()
	l.ended()
}

// containerLife drives app shop in environment env of group rg.
type containerLife struct {
	t   *testing.T
	ctx context.Context
	*armappcontainers.ClientFactory
}

// ended waits for the end of what was begun.
func ended[T any](l containerLife, p *runtime.Poller[T], err error) T {
	l.t.Helper()
	must(l.t, err)
	got, err := p.PollUntilDone(l.ctx, &runtime.PollUntilDoneOptions{Frequency: 50 * time.Millisecond})
	must(l.t, err)
	return got
}

func (l containerLife) free(name string) bool {
	got, err := l.NewNamespacesClient().CheckNameAvailability(l.ctx, "rg", "env", armappcontainers.CheckNameAvailabilityRequest{Name: &name, Type: to.Ptr("Microsoft.App/containerApps")}, nil)
	must(l.t, err)
	return *got.NameAvailable
}

func (l containerLife) template(suffix string) *armappcontainers.Template {
	return &armappcontainers.Template{RevisionSuffix: &suffix, Containers: []*armappcontainers.Container{{Name: to.Ptr("main"), Image: to.Ptr(answering(l.t))}}}
}

func (l containerLife) made() {
	making, err := l.NewManagedEnvironmentsClient().BeginCreateOrUpdate(l.ctx, "rg", "env",
		armappcontainers.ManagedEnvironment{Location: to.Ptr("local"), Properties: &armappcontainers.ManagedEnvironmentProperties{}}, nil)
	env := ended(l, making, err)
	if !l.free("shop") || l.free("No_Name") {
		l.t.Error("names are not told apart")
	}
	first := l.template("one")
	first.Scale = &armappcontainers.Scale{MinReplicas: to.Ptr[int32](1)}
	creating, err := l.NewContainerAppsClient().BeginCreateOrUpdate(l.ctx, "rg", "shop", armappcontainers.ContainerApp{Location: to.Ptr("local"),
		Properties: &armappcontainers.ContainerAppProperties{
			EnvironmentID: env.ID,
			Configuration: &armappcontainers.Configuration{ActiveRevisionsMode: to.Ptr(armappcontainers.ActiveRevisionsModeMultiple),
				Ingress: &armappcontainers.Ingress{External: to.Ptr(true), TargetPort: to.Ptr[int32](8080)},
				Secrets: []*armappcontainers.Secret{{Name: to.Ptr("s"), Value: to.Ptr("value")}}},
			Template: first,
		}}, nil)
	ended(l, creating, err)
	if l.free("shop") {
		l.t.Error("the name of the app is free")
	}
	secrets, err := l.NewContainerAppsClient().ListSecrets(l.ctx, "rg", "shop", nil)
	must(l.t, err)
	if len(secrets.Value) != 1 || *secrets.Value[0].Value != "value" {
		l.t.Errorf("secrets: %+v", secrets.Value)
	}
	token, err := l.NewContainerAppsClient().GetAuthToken(l.ctx, "rg", "shop", nil)
	must(l.t, err)
	if token.Properties == nil || *token.Properties.Token == "" || !token.Properties.Expires.After(time.Now()) {
		l.t.Errorf("token: %+v", token.Properties)
	}
}

func (l containerLife) changed() {
	patching, err := l.NewContainerAppsClient().BeginUpdate(l.ctx, "rg", "shop", armappcontainers.ContainerApp{Location: to.Ptr("local"),
		Properties: &armappcontainers.ContainerAppProperties{Template: l.template("two")}}, nil)
	ended(l, patching, err)
	got, err := l.NewContainerAppsClient().Get(l.ctx, "rg", "shop", nil)
	must(l.t, err)
	if *got.Properties.LatestRevisionName != "shop--two" || *got.Properties.Configuration.ActiveRevisionsMode != armappcontainers.ActiveRevisionsModeMultiple {
		l.t.Errorf("after the patch: %+v", got.Properties)
	}
}

func (l containerLife) active(revision string) bool {
	r, err := l.NewContainerAppsRevisionsClient().GetRevision(l.ctx, "rg", "shop", revision, nil)
	must(l.t, err)
	return *r.Properties.Active
}

func (l containerLife) revised() {
	revisions := l.NewContainerAppsRevisionsClient()
	_, err := revisions.DeactivateRevision(l.ctx, "rg", "shop", "shop--one", nil)
	must(l.t, err)
	if l.active("shop--one") {
		l.t.Error("a deactivated revision is active")
	}
	_, err = revisions.ActivateRevision(l.ctx, "rg", "shop", "shop--one", nil)
	must(l.t, err)
	if !l.active("shop--one") {
		l.t.Error("an activated revision is not active")
	}
	var names []string
	for pager := revisions.NewListRevisionsPager("rg", "shop", nil); pager.More(); {
		page, err := pager.NextPage(l.ctx)
		must(l.t, err)
		for _, one := range page.Value {
			names = append(names, *one.Name)
		}
	}
	if slices.Sort(names); fmt.Sprint(names) != "[shop--one shop--two]" {
		l.t.Errorf("revisions: %v", names)
	}
}

func (l containerLife) replicas(revision string) (names []string) {
	list, err := l.NewContainerAppsRevisionReplicasClient().ListReplicas(l.ctx, "rg", "shop", revision, nil)
	must(l.t, err)
	for _, one := range list.Value {
		names = append(names, *one.Name)
	}
	return names
}

func (l containerLife) replaced() {
	until(l.t, "both revisions run", func() bool { return len(l.replicas("shop--one")) == 1 && len(l.replicas("shop--two")) == 1 })
	before := l.replicas("shop--two")[0]
	one, err := l.NewContainerAppsRevisionReplicasClient().GetReplica(l.ctx, "rg", "shop", "shop--two", before, nil)
	must(l.t, err)
	if len(one.Properties.Containers) != 1 || *one.Properties.Containers[0].Name != "main" {
		l.t.Errorf("replica: %+v", one.Properties)
	}
	_, err = l.NewContainerAppsRevisionsClient().RestartRevision(l.ctx, "rg", "shop", "shop--two", nil)
	must(l.t, err)
	until(l.t, "another replica runs", func() bool { now := l.replicas("shop--two"); return len(now) == 1 && now[0] != before })
}

func (l containerLife) stoppedAndStarted() {
	stopping, err := l.NewContainerAppsClient().BeginStop(l.ctx, "rg", "shop", nil)
	stopped := ended(l, stopping, err)
	if *stopped.Properties.ProvisioningState != armappcontainers.ContainerAppProvisioningStateSucceeded {
		l.t.Errorf("stopped: %+v", stopped.Properties)
	}
	until(l.t, "nothing runs", func() bool { return len(l.replicas("shop--one"))+len(l.replicas("shop--two")) == 0 })
	starting, err := l.NewContainerAppsClient().BeginStart(l.ctx, "rg", "shop", nil)
	ended(l, starting, err)
	until(l.t, "it runs again", func() bool { return len(l.replicas("shop--two")) == 1 })
}

func (l containerLife) listed() {
	count := 0
	for pager := l.NewContainerAppsClient().NewListBySubscriptionPager(nil); pager.More(); {
		page, err := pager.NextPage(l.ctx)
		must(l.t, err)
		count += len(page.Value)
	}
	for pager := l.NewManagedEnvironmentsClient().NewListByResourceGroupPager("rg", nil); pager.More(); {
		page, err := pager.NextPage(l.ctx)
		must(l.t, err)
		count += len(page.Value)
	}
	if count != 2 {
		l.t.Errorf("%d apps and environments are listed", count)
	}
}

func (l containerLife) ended() {
	environments := l.NewManagedEnvironmentsClient()
	if _, err := environments.BeginDelete(l.ctx, "rg", "env", nil); err == nil {
		l.t.Error("an environment with an app in it was deleted")
	}
	ending, err := l.NewContainerAppsClient().BeginDelete(l.ctx, "rg", "shop", nil)
	ended(l, ending, err)
	gone, err := environments.BeginDelete(l.ctx, "rg", "env", nil)
	ended(l, gone, err)
}
