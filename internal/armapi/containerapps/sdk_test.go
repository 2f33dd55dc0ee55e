package containerapps_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	sdkarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	sdk "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"

	"github.com/latchkey/latchkey/internal/armapi/containerapps"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/resource"
)

type token struct{}

func (token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "x", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// factory gives the Go library's clients for the API, over TLS as it wants.
func (f *fixture) factory() *sdk.ClientFactory {
	f.Helper()
	server := httptest.NewTLSServer(f.api)
	f.Cleanup(server.Close)
	factory, err := sdk.NewClientFactory(sub, token{}, &sdkarm.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: server.Client(),
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: server.URL, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: server.URL, Audience: server.URL},
		}},
	}, DisableRPRegistration: true})
	f.must(err)
	return factory
}

// poll waits for a change without the pauses of a person's patience.
var poll = &runtime.PollUntilDoneOptions{Frequency: 10 * time.Millisecond}

// report tells that a revision is ready, or why not.
func (f *fixture) report(revision string, s containerapp.Status) {
	f.Helper()
	id, err := resource.Parse(appAt)
	f.must(err)
	_, err = f.apps.Report(f.Context(), id, revision, s)
	f.must(err)
}

func (f *fixture) latest() string {
	f.Helper()
	return at(f.object(200, "GET", appAt, ""), "properties", "latestRevisionName").(string)
}

var ready = containerapp.Status{Provisioning: containerapp.Provisioned, Running: containerapp.IsRunning, Healthy: true, Replicas: 1}

func sdkApp(image string) sdk.ContainerApp {
	return sdk.ContainerApp{
		Location: to.Ptr("local"), Tags: map[string]*string{"team": to.Ptr("shop")},
		Identity: &sdk.ManagedServiceIdentity{Type: to.Ptr(sdk.ManagedServiceIdentityTypeSystemAssignedUserAssigned),
			UserAssignedIdentities: map[string]*sdk.UserAssignedIdentity{userAt + "one": {}}},
		Properties: &sdk.ContainerAppProperties{
			EnvironmentID: to.Ptr(envAt),
			Configuration: &sdk.Configuration{
				Ingress:    &sdk.Ingress{External: to.Ptr(true), TargetPort: to.Ptr[int32](80)},
				Secrets:    []*sdk.Secret{{Name: to.Ptr("a"), Value: to.Ptr("hidden")}},
				Registries: []*sdk.RegistryCredentials{{Server: to.Ptr("r.azurecr.io"), Identity: to.Ptr(userAt + "one")}},
			},
			Template: &sdk.Template{
				InitContainers: []*sdk.InitContainer{{Name: to.Ptr("prepare"), Image: to.Ptr(image)}},
				Containers: []*sdk.Container{{Name: to.Ptr("main"), Image: to.Ptr(image),
					Env: []*sdk.EnvironmentVar{{Name: to.Ptr("A"), SecretRef: to.Ptr("a")}}}},
				Scale: &sdk.Scale{MinReplicas: to.Ptr[int32](1), MaxReplicas: to.Ptr[int32](3), Rules: []*sdk.ScaleRule{{Name: to.Ptr("http"),
					HTTP: &sdk.HTTPScaleRule{Metadata: map[string]*string{"concurrentRequests": to.Ptr("10")}}}}},
			},
		},
	}
}

// The pollers of the library wait for revisions and for nothing that does not come.
func TestTheGoLibraryManagesContainerApps(t *testing.T) {
	runs := &runs{}
	f := newFixture(t, running(runs))
	f.user("one")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	factory := f.factory()
	environments, apps, revisions := factory.NewManagedEnvironmentsClient(), factory.NewContainerAppsClient(), factory.NewContainerAppsRevisionsClient()
	making, err := environments.BeginCreateOrUpdate(ctx, "rg", "env", sdk.ManagedEnvironment{Location: to.Ptr("local"), Properties: &sdk.ManagedEnvironmentProperties{
		AppLogsConfiguration: &sdk.AppLogsConfiguration{Destination: to.Ptr("log-analytics"),
			LogAnalyticsConfiguration: &sdk.LogAnalyticsConfiguration{CustomerID: to.Ptr("c"), SharedKey: to.Ptr("a-shared-key")}}}}, nil)
	f.must(err)
	env, err := making.PollUntilDone(ctx, poll)
	f.must(err)
	if *env.Properties.ProvisioningState != sdk.EnvironmentProvisioningStateSucceeded || !strings.HasSuffix(*env.Properties.DefaultDomain, ".apps.localhost:7443") ||
		env.Properties.AppLogsConfiguration.LogAnalyticsConfiguration.SharedKey != nil {
		t.Errorf("environment: %+v", env.Properties)
	}

	creating, err := apps.BeginCreateOrUpdate(ctx, "rg", "orders", sdkApp("i:1"), nil)
	f.must(err)
	if _, err := creating.Poll(ctx); err != nil || creating.Done() {
		t.Fatalf("created before the revision is ready: %v, %v", creating.Done(), err)
	}
	first := f.latest()
	f.report(first, ready)
	made, err := creating.PollUntilDone(ctx, poll)
	f.must(err)
	if *made.Properties.ProvisioningState != sdk.ContainerAppProvisioningStateSucceeded || *made.Properties.LatestRevisionName != first || *made.Properties.LatestReadyRevisionName != first ||
		*made.Identity.Type != sdk.ManagedServiceIdentityTypeSystemAssignedUserAssigned || *made.Identity.PrincipalID == "" || len(made.Identity.UserAssignedIdentities) != 1 ||
		*made.SystemData.CreatedBy != "me" || *made.Properties.Configuration.Ingress.Fqdn != "orders."+*env.Properties.DefaultDomain || *made.Type != containerapp.Type {
		t.Errorf("made: %s", f.want(200, "GET", appAt, "").Body)
	}

	updating, err := apps.BeginUpdate(ctx, "rg", "orders", sdk.ContainerApp{Location: to.Ptr("local"), Properties: &sdk.ContainerAppProperties{Template: &sdk.Template{
		Containers: []*sdk.Container{{Name: to.Ptr("main"), Image: to.Ptr("i:2")}}}}}, nil)
	f.must(err)
	if updating.Done() {
		t.Error("updated before the revision is ready")
	}
	second := f.latest()
	got, err := apps.Get(ctx, "rg", "ORDERS", nil)
	f.must(err)
	if second == first || *got.Properties.LatestReadyRevisionName != first {
		t.Errorf("while the second comes up, %q is ready", *got.Properties.LatestReadyRevisionName)
	}
	f.report(second, ready)
	updated, err := updating.PollUntilDone(ctx, poll)
	f.must(err)
	if *updated.Properties.LatestReadyRevisionName != second || *updated.Properties.Template.Containers[0].Image != "i:2" {
		t.Errorf("updated: %+v", updated.Properties)
	}
	failing, err := apps.BeginCreateOrUpdate(ctx, "rg", "orders", sdkApp("nowhere:1"), nil)
	f.must(err)
	f.report(f.latest(), containerapp.Status{Provisioning: containerapp.Failed, Running: containerapp.FailedRunning, Code: "ImagePullFailure", Reason: "there is no image nowhere:1"})
	var refused *azcore.ResponseError
	if _, err = failing.PollUntilDone(ctx, poll); !errors.As(err, &refused) || refused.ErrorCode != "ImagePullFailure" {
		t.Errorf("a revision that fails: %v", err)
	}
	f.changedAfterAFailure(ctx, apps)
	active := map[string]bool{}
	for pager := revisions.NewListRevisionsPager("rg", "orders", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		f.must(err)
		for _, r := range page.Value {
			active[*r.Name] = *r.Properties.Active
		}
	}
	if len(active) != 3 || active[first] || !active[second] || !active[f.latest()] {
		t.Errorf("the one before the failed one keeps serving: %v, second %s", active, second)
	}

	f.lookedAtByTheLibrary(ctx, factory, runs, first, second)
	f.endedByTheLibrary(ctx, factory)
}

// A change that makes no revision is done although the latest revision failed; the
// same app put again tries that one anew.
func (f *fixture) changedAfterAFailure(ctx context.Context, apps *sdk.ContainerAppsClient) {
	f.Helper()
	failed := f.latest()
	tagging, err := apps.BeginUpdate(ctx, "rg", "orders", sdk.ContainerApp{Location: to.Ptr("local"), Tags: map[string]*string{"x": to.Ptr("y")}}, nil)
	f.must(err)
	tagged, err := tagging.PollUntilDone(ctx, poll)
	f.must(err)
	if *tagged.Tags["x"] != "y" || *tagged.Properties.ProvisioningState != sdk.ContainerAppProvisioningStateFailed {
		f.Errorf("tagged: %+v", tagged.Properties.ProvisioningState)
	}
	again, err := apps.BeginCreateOrUpdate(ctx, "rg", "orders", sdkApp("nowhere:1"), nil)
	f.must(err)
	if again.Done() || f.latest() != failed {
		f.Errorf("put again: done %v, revision %s", again.Done(), f.latest())
	}
	f.report(failed, containerapp.Status{Provisioning: containerapp.Failed, Running: containerapp.FailedRunning, Code: "ImagePullFailure", Reason: "still none"})
	var refused *azcore.ResponseError
	if _, err = again.PollUntilDone(ctx, poll); !errors.As(err, &refused) || refused.ErrorCode != "ImagePullFailure" {
		f.Errorf("put again: %v", err)
	}
}

func (f *fixture) lookedAtByTheLibrary(ctx context.Context, factory *sdk.ClientFactory, runs *runs, first, second string) {
	f.Helper()
	t, apps, revisions := f.T, factory.NewContainerAppsClient(), factory.NewContainerAppsRevisionsClient()
	var refused *azcore.ResponseError
	runs.list = []containerapps.Replica{{Name: second + "-abc", Created: f.clock.Now(), Running: "Running", Main: []containerapps.ReplicaContainer{{Name: "main", Ready: true, Running: "Running"}}}}
	replicas, err := factory.NewContainerAppsRevisionReplicasClient().ListReplicas(ctx, "rg", "orders", second, nil)
	f.must(err)
	if len(replicas.Value) != 1 || *replicas.Value[0].Properties.Containers[0].Name != "main" {
		t.Errorf("replicas: %+v", replicas.Value)
	}
	_, err = revisions.RestartRevision(ctx, "rg", "orders", second, nil)
	f.must(err)
	if _, err = revisions.ActivateRevision(ctx, "rg", "orders", first, nil); !errors.As(err, &refused) || refused.StatusCode != 409 {
		t.Errorf("activated in single mode: %v", err)
	}
	if _, err = revisions.GetRevision(ctx, "rg", "orders", "orders--none", nil); !errors.As(err, &refused) || refused.StatusCode != 404 {
		t.Errorf("a revision that is not there: %v", err)
	}
	secrets, err := apps.ListSecrets(ctx, "rg", "orders", nil)
	f.must(err)
	if len(secrets.Value) != 1 || *secrets.Value[0].Value != "hidden" {
		t.Errorf("secrets: %+v", secrets.Value)
	}
	stopping, err := apps.BeginStop(ctx, "rg", "orders", nil)
	f.must(err)
	_, err = stopping.PollUntilDone(ctx, poll)
	f.must(err)
	if got := at(f.object(200, "GET", appAt, ""), "properties", "runningStatus"); got != "Stopped" {
		t.Errorf("stopped: %v", got)
	}
	starting, err := apps.BeginStart(ctx, "rg", "orders", nil)
	f.must(err)
	_, err = starting.PollUntilDone(ctx, poll)
	f.must(err)
}

func (f *fixture) endedByTheLibrary(ctx context.Context, factory *sdk.ClientFactory) {
	f.Helper()
	environments, apps := factory.NewManagedEnvironmentsClient(), factory.NewContainerAppsClient()
	names := 0
	for pager := apps.NewListBySubscriptionPager(nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		f.must(err)
		names += len(page.Value)
	}
	for pager := apps.NewListByResourceGroupPager("rg", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		f.must(err)
		names += len(page.Value)
	}
	if names != 2 {
		f.Errorf("%d apps listed", names)
	}
	var refused *azcore.ResponseError
	if _, err := environments.BeginDelete(ctx, "rg", "env", nil); !errors.As(err, &refused) || refused.StatusCode != 409 {
		f.Errorf("an environment with apps: %v", err)
	}
	id, err := resource.Parse(appAt)
	f.must(err)
	own, err := f.identities.System(ctx, id)
	f.must(err)
	deleting, err := apps.BeginDelete(ctx, "rg", "orders", nil)
	f.must(err)
	_, err = deleting.PollUntilDone(ctx, poll)
	f.must(err)
	if _, err = apps.Get(ctx, "rg", "orders", nil); !errors.As(err, &refused) || refused.StatusCode != 404 {
		f.Errorf("after its deletion: %v", err)
	}
	if _, err := f.identities.Principal(ctx, own.ObjectID); err == nil {
		f.Error("the app's own identity outlives it")
	}
	ending, err := environments.BeginDelete(ctx, "rg", "env", nil)
	f.must(err)
	_, err = ending.PollUntilDone(ctx, poll)
	f.must(err)
}
