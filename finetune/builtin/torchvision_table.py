"""What torchvision publishes about its classifiers, as plain facts: one row for each, with its default weights.

Every row can be read off ``torchvision.models.get_model_weights(name).DEFAULT``, except ``min_image_size_px``, which
was found by trying: the smallest size whose forward leaves at least one cell of a feature map.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One classifier and its default weights: torchvision's ``IMAGENET1K_`` + ``weights``, in ``file`` + ``.pth``.

    A picture's shorter side is brought to ``resize_px``, then a square of ``image_size_px`` is cropped from its
    centre. ``multiple_px`` divides every image size that the network takes. ``top1_percent`` is torchvision's own
    measurement on ImageNet-1k.
    """

    name: str
    family: str
    parameters: int
    image_size_px: int
    resize_px: int
    min_image_size_px: int
    top1_percent: float
    weights: str
    file: str
    multiple_px: int = 1


ROWS = (
    Row("alexnet", "alexnet", 61_100_840, 224, 256, 63, 56.5, "V1", "alexnet-owt-7be5be79"),
    Row("convnext_base", "convnext", 88_591_464, 224, 232, 32, 84.1, "V1", "convnext_base-6075fbad"),
    Row("convnext_large", "convnext", 197_767_336, 224, 232, 32, 84.4, "V1", "convnext_large-ea097f82"),
    Row("convnext_small", "convnext", 50_223_688, 224, 230, 32, 83.6, "V1", "convnext_small-0c510722"),
    Row("convnext_tiny", "convnext", 28_589_128, 224, 236, 32, 82.5, "V1", "convnext_tiny-983f1562"),
    Row("densenet121", "densenet", 7_978_856, 224, 256, 29, 74.4, "V1", "densenet121-a639ec97"),
    Row("densenet161", "densenet", 28_681_000, 224, 256, 29, 77.1, "V1", "densenet161-8d451a50"),
    Row("densenet169", "densenet", 14_149_480, 224, 256, 29, 75.6, "V1", "densenet169-b2777c0a"),
    Row("densenet201", "densenet", 20_013_928, 224, 256, 29, 76.9, "V1", "densenet201-c1103571"),
    Row("efficientnet_b0", "efficientnet", 5_288_548, 224, 256, 1, 77.7, "V1", "efficientnet_b0_rwightman-7f5810bc"),
    Row("efficientnet_b1", "efficientnet", 7_794_184, 240, 255, 1, 79.8, "V2", "efficientnet_b1-c27df63c"),
    Row("efficientnet_b2", "efficientnet", 9_109_994, 288, 288, 1, 80.6, "V1", "efficientnet_b2_rwightman-c35c1473"),
    Row("efficientnet_b3", "efficientnet", 12_233_232, 300, 320, 1, 82.0, "V1", "efficientnet_b3_rwightman-b3899882"),
    Row("efficientnet_b4", "efficientnet", 19_341_616, 380, 384, 1, 83.4, "V1", "efficientnet_b4_rwightman-23ab8bcd"),
    Row("efficientnet_b5", "efficientnet", 30_389_784, 456, 456, 1, 83.4, "V1", "efficientnet_b5_lukemelas-1a07897c"),
    Row("efficientnet_b6", "efficientnet", 43_040_704, 528, 528, 1, 84.0, "V1", "efficientnet_b6_lukemelas-24a108a5"),
    Row("efficientnet_b7", "efficientnet", 66_347_960, 600, 600, 1, 84.1, "V1", "efficientnet_b7_lukemelas-c5b4e57e"),
    Row("efficientnet_v2_l", "efficientnet", 118_515_272, 480, 480, 1, 85.8, "V1", "efficientnet_v2_l-59c71312"),
    Row("efficientnet_v2_m", "efficientnet", 54_139_356, 480, 480, 1, 85.1, "V1", "efficientnet_v2_m-dc08266a"),
    Row("efficientnet_v2_s", "efficientnet", 21_458_488, 384, 384, 1, 84.2, "V1", "efficientnet_v2_s-dd5fe13b"),
    Row("googlenet", "googlenet", 6_624_904, 224, 256, 15, 69.8, "V1", "googlenet-1378be20"),
    Row("inception_v3", "inception_v3", 27_161_264, 299, 342, 75, 77.3, "V1", "inception_v3_google-0cc3c7bd"),
    Row("maxvit_t", "maxvit", 30_919_624, 224, 224, 224, 83.7, "V1", "maxvit_t-bc5ab103", 224),
    Row("mnasnet0_5", "mnasnet", 2_218_512, 224, 256, 1, 67.7, "V1", "mnasnet0.5_top1_67.823-3ffadce67e"),
    Row("mnasnet0_75", "mnasnet", 3_170_208, 224, 232, 1, 71.2, "V1", "mnasnet0_75-7090bc5f"),
    Row("mnasnet1_0", "mnasnet", 4_383_312, 224, 256, 1, 73.5, "V1", "mnasnet1.0_top1_73.512-f206786ef8"),
    Row("mnasnet1_3", "mnasnet", 6_282_256, 224, 232, 1, 76.5, "V1", "mnasnet1_3-a4c69d6f"),
    Row("mobilenet_v2", "mobilenet", 3_504_872, 224, 232, 1, 72.2, "V2", "mobilenet_v2-7ebf99e0"),
    Row("mobilenet_v3_large", "mobilenet", 5_483_032, 224, 232, 1, 75.3, "V2", "mobilenet_v3_large-5c1a4163"),
    Row("mobilenet_v3_small", "mobilenet", 2_542_856, 224, 256, 1, 67.7, "V1", "mobilenet_v3_small-047dcff4"),
    Row("regnet_x_16gf", "regnet", 54_278_536, 224, 232, 1, 82.7, "V2", "regnet_x_16gf-ba3796d7"),
    Row("regnet_x_1_6gf", "regnet", 9_190_136, 224, 232, 1, 79.7, "V2", "regnet_x_1_6gf-a12f2b72"),
    Row("regnet_x_32gf", "regnet", 107_811_560, 224, 232, 1, 83.0, "V2", "regnet_x_32gf-6eb8fdc6"),
    Row("regnet_x_3_2gf", "regnet", 15_296_552, 224, 232, 1, 81.2, "V2", "regnet_x_3_2gf-7071aa85"),
    Row("regnet_x_400mf", "regnet", 5_495_976, 224, 232, 1, 74.9, "V2", "regnet_x_400mf-62229a5f"),
    Row("regnet_x_800mf", "regnet", 7_259_656, 224, 232, 1, 77.5, "V2", "regnet_x_800mf-94a99ebd"),
    Row("regnet_x_8gf", "regnet", 39_572_648, 224, 232, 1, 81.7, "V2", "regnet_x_8gf-2b70d774"),
    Row("regnet_y_128gf", "regnet", 644_812_894, 384, 384, 1, 88.2, "SWAG_E2E_V1", "regnet_y_128gf_swag-c8ce3e52"),
    Row("regnet_y_16gf", "regnet", 83_590_140, 224, 232, 1, 82.9, "V2", "regnet_y_16gf-3e4a00f9"),
    Row("regnet_y_1_6gf", "regnet", 11_202_430, 224, 232, 1, 80.9, "V2", "regnet_y_1_6gf-0d7bc02a"),
    Row("regnet_y_32gf", "regnet", 145_046_770, 224, 232, 1, 83.4, "V2", "regnet_y_32gf-8db6d4b5"),
    Row("regnet_y_3_2gf", "regnet", 19_436_338, 224, 232, 1, 82.0, "V2", "regnet_y_3_2gf-9180c971"),
    Row("regnet_y_400mf", "regnet", 4_344_144, 224, 232, 1, 75.8, "V2", "regnet_y_400mf-e6988f5f"),
    Row("regnet_y_800mf", "regnet", 6_432_512, 224, 232, 1, 78.8, "V2", "regnet_y_800mf-58fc7688"),
    Row("regnet_y_8gf", "regnet", 39_381_472, 224, 232, 1, 82.8, "V2", "regnet_y_8gf-dc2b1b54"),
    Row("resnet101", "resnet", 44_549_160, 224, 232, 1, 81.9, "V2", "resnet101-cd907fc2"),
    Row("resnet152", "resnet", 60_192_808, 224, 232, 1, 82.3, "V2", "resnet152-f82ba261"),
    Row("resnet18", "resnet", 11_689_512, 224, 256, 1, 69.8, "V1", "resnet18-f37072fd"),
    Row("resnet34", "resnet", 21_797_672, 224, 256, 1, 73.3, "V1", "resnet34-b627a593"),
    Row("resnet50", "resnet", 25_557_032, 224, 232, 1, 80.9, "V2", "resnet50-11ad3fa6"),
    Row("resnext101_32x8d", "resnet", 88_791_336, 224, 232, 1, 82.8, "V2", "resnext101_32x8d-110c445d"),
    Row("resnext101_64x4d", "resnet", 83_455_272, 224, 232, 1, 83.2, "V1", "resnext101_64x4d-173b62eb"),
    Row("resnext50_32x4d", "resnet", 25_028_904, 224, 232, 1, 81.2, "V2", "resnext50_32x4d-1a0047aa"),
    Row("shufflenet_v2_x0_5", "shufflenet_v2", 1_366_792, 224, 256, 1, 60.6, "V1", "shufflenetv2_x0.5-f707e7126e"),
    Row("shufflenet_v2_x1_0", "shufflenet_v2", 2_278_604, 224, 256, 1, 69.4, "V1", "shufflenetv2_x1-5666bf0f80"),
    Row("shufflenet_v2_x1_5", "shufflenet_v2", 3_503_624, 224, 232, 1, 73.0, "V1", "shufflenetv2_x1_5-3c479a10"),
    Row("shufflenet_v2_x2_0", "shufflenet_v2", 7_393_996, 224, 232, 1, 76.2, "V1", "shufflenetv2_x2_0-8be3c8ee"),
    Row("squeezenet1_0", "squeezenet", 1_248_424, 224, 256, 21, 58.1, "V1", "squeezenet1_0-b66bff10"),
    Row("squeezenet1_1", "squeezenet", 1_235_496, 224, 256, 17, 58.2, "V1", "squeezenet1_1-b8a52dc0"),
    Row("swin_b", "swin", 87_768_224, 224, 238, 4, 83.6, "V1", "swin_b-68c6b09e"),
    Row("swin_s", "swin", 49_606_258, 224, 246, 4, 83.2, "V1", "swin_s-5e29d889"),
    Row("swin_t", "swin", 28_288_354, 224, 232, 4, 81.5, "V1", "swin_t-704ceda3"),
    Row("swin_v2_b", "swin", 87_930_848, 256, 272, 4, 84.1, "V1", "swin_v2_b-781e5279"),
    Row("swin_v2_s", "swin", 49_737_442, 256, 260, 4, 83.7, "V1", "swin_v2_s-637d8ceb"),
    Row("swin_v2_t", "swin", 28_351_570, 256, 260, 4, 82.1, "V1", "swin_v2_t-b137f0e2"),
    Row("vgg11", "vgg", 132_863_336, 224, 256, 32, 69.0, "V1", "vgg11-8a719046"),
    Row("vgg11_bn", "vgg", 132_868_840, 224, 256, 32, 70.4, "V1", "vgg11_bn-6002323d"),
    Row("vgg13", "vgg", 133_047_848, 224, 256, 32, 69.9, "V1", "vgg13-19584684"),
    Row("vgg13_bn", "vgg", 133_053_736, 224, 256, 32, 71.6, "V1", "vgg13_bn-abd245e5"),
    Row("vgg16", "vgg", 138_357_544, 224, 256, 32, 71.6, "V1", "vgg16-397923af"),
    Row("vgg16_bn", "vgg", 138_365_992, 224, 256, 32, 73.4, "V1", "vgg16_bn-6c64b313"),
    Row("vgg19", "vgg", 143_667_240, 224, 256, 32, 72.4, "V1", "vgg19-dcbb9e9d"),
    Row("vgg19_bn", "vgg", 143_678_248, 224, 256, 32, 74.2, "V1", "vgg19_bn-c79401a0"),
    Row("vit_b_16", "vit", 86_567_656, 224, 256, 16, 81.1, "V1", "vit_b_16-c867db91", 16),
    Row("vit_b_32", "vit", 88_224_232, 224, 256, 32, 75.9, "V1", "vit_b_32-d86f8d99", 32),
    Row("vit_h_14", "vit", 633_470_440, 518, 518, 14, 88.6, "SWAG_E2E_V1", "vit_h_14_swag-80465313", 14),
    Row("vit_l_16", "vit", 304_326_632, 224, 242, 16, 79.7, "V1", "vit_l_16-852ce7e3", 16),
    Row("vit_l_32", "vit", 306_535_400, 224, 256, 32, 77.0, "V1", "vit_l_32-c7638314", 32),
    Row("wide_resnet101_2", "resnet", 126_886_696, 224, 232, 1, 82.5, "V2", "wide_resnet101_2-d733dc28"),
    Row("wide_resnet50_2", "resnet", 68_883_240, 224, 232, 1, 81.6, "V2", "wide_resnet50_2-9ba9bcbe"),
)
