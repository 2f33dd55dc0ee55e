package witness

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// telling is an image whose containers write to a file where their identity endpoint
// is, and go on if they are main ones.
func telling(t *testing.T, out string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "image")
	must(t, os.MkdirAll(folder, 0o700))
	script := `printenv IDENTITY_ENDPOINT IDENTITY_HEADER > "$0.$1.part" && mv "$0.$1.part" "$0.$1"; test $1 = init || exec sleep 100000`
	must(t, os.WriteFile(filepath.Join(folder, "container.json"), fmt.Appendf(nil, `{"command":["/bin/sh","-c",%q,%q]}`, script, out), 0o600))
	return folder
}

// tokenOf asks the endpoint that a container told of for a token of an identity.
func tokenOf(t *testing.T, file, identity string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	told := strings.Fields(string(text))
	if len(told) != 2 {
		t.Fatalf("the container told %d things", len(told))
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", told[0]+"?api-version=2019-08-01&resource=https://vault.azure.net&mi_res_id="+url.QueryEscape(identity), nil)
	must(t, err)
	r.Header.Set("X-IDENTITY-HEADER", told[1])
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	must(t, answer.Body.Close())
	return answer.StatusCode
}

// The Go library deploys a container app to the program, whose containers get what
// the app's settings allow.
func TestTheGoLibraryRunsAContainerApp(t *testing.T) {
	p := upContained(t)
	c := p.owner(t)
	factory, err := armappcontainers.NewClientFactory(c.cred.SubscriptionID, c, c.options())
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*platformtest.Patience)
	defer cancel()
	poll := &runtime.PollUntilDoneOptions{Frequency: 50 * time.Millisecond}
	c.do(t, "PUT", c.group("rg")+"?api-version=2021-04-01", `{"location":"local"}`)
	identity := c.group("rg") + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/late"
	c.do(t, "PUT", identity+"?api-version=2023-01-31", `{"location":"local"}`)
	making, err := factory.NewManagedEnvironmentsClient().BeginCreateOrUpdate(ctx, "rg", "env", armappcontainers.ManagedEnvironment{
		Location: to.Ptr("local"), Properties: &armappcontainers.ManagedEnvironmentProperties{}}, nil)
	must(t, err)
	env, err := making.PollUntilDone(ctx, poll)
	must(t, err)

	out := filepath.Join(t.TempDir(), "told")
	image := telling(t, out)
	apps := factory.NewContainerAppsClient()
	body := armappcontainers.ContainerApp{
		Location: to.Ptr("local"),
		Identity: &armappcontainers.ManagedServiceIdentity{Type: to.Ptr(armappcontainers.ManagedServiceIdentityTypeUserAssigned),
			UserAssignedIdentities: map[string]*armappcontainers.UserAssignedIdentity{identity: {}}},
		Properties: &armappcontainers.ContainerAppProperties{EnvironmentID: env.ID, Template: &armappcontainers.Template{
			InitContainers: []*armappcontainers.InitContainer{{Name: to.Ptr("prepare"), Image: &image, Args: []*string{to.Ptr("init")}}},
			Containers:     []*armappcontainers.Container{{Name: to.Ptr("main"), Image: &image, Args: []*string{to.Ptr("main")}}},
		}},
	}
	creating, err := apps.BeginCreateOrUpdate(ctx, "rg", "shop", body, nil)
	must(t, err)
	made, err := creating.PollUntilDone(ctx, poll)
	must(t, err)
	if *made.Properties.ProvisioningState != armappcontainers.ContainerAppProvisioningStateSucceeded || *made.Properties.LatestReadyRevisionName != *made.Properties.LatestRevisionName {
		t.Errorf("made: %+v", made.Properties)
	}
	if status := tokenOf(t, out+".main", identity); status != http.StatusOK {
		t.Errorf("the main container's token: %d", status)
	}
	if status := tokenOf(t, out+".init", identity); status == http.StatusOK {
		t.Error("the secret of an init container that ended opens the identity endpoint")
	}

	body.Properties.Template.Containers[0].Image = to.Ptr(filepath.Join(t.TempDir(), "none"))
	failing, err := apps.BeginCreateOrUpdate(ctx, "rg", "shop", body, nil)
	must(t, err)
	var refused *azcore.ResponseError
	if _, err := failing.PollUntilDone(ctx, poll); !errors.As(err, &refused) || !strings.Contains(err.Error(), "template.containers.main.image") {
		t.Errorf("an image that there is not: %v", err)
	}
	replicas, err := factory.NewContainerAppsRevisionReplicasClient().ListReplicas(ctx, "rg", "shop", *made.Properties.LatestRevisionName, nil)
	must(t, err)
	if len(replicas.Value) != 1 || *replicas.Value[0].Properties.RunningState != armappcontainers.ContainerAppReplicaRunningStateRunning {
		t.Errorf("the revision before does not run: %+v", replicas.Value)
	}
	ending, err := apps.BeginDelete(ctx, "rg", "shop", nil)
	must(t, err)
	_, err = ending.PollUntilDone(ctx, poll)
	must(t, err)
	if status := tokenOf(t, out+".main", identity); status == http.StatusOK {
		t.Error("the secret of a deleted app's container opens the identity endpoint")
	}
}
